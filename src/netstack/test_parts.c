/* The parts by themselves: checksum, wheel, table, chunks, records, each against a naive model. */
#include "check.h"

#include "netstack/internal.h"

#include <stdlib.h>

static uint32_t seed = 12345;

static uint32_t chance(void)
{
    seed = seed * 1664525 + 1013904223;
    return seed >> 8;
}

/* ---- checksum ----------------------------------------------------------------------------------------- */

/* As RFC 1071 says it, with big-endian words. */
static uint16_t naive_checksum(const uint8_t *data, size_t len)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < len; i++)
        sum += i % 2 ? data[i] : (uint64_t)data[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

static void sums_are_those_of_the_rfc(void **state)
{
    (void)state;
    uint8_t data[3000], copy[3000];

    for (int round = 0; round < 3000; round++) {
        size_t at = chance() % 64, len = chance() % 2900;
        uint16_t folded, want;

        for (size_t i = 0; i < sizeof(data); i++)
            data[i] = (uint8_t)(round % 3 ? chance() : 0xff);
        folded = checksum_fold(checksum_add(0, data + at, len));
        want = naive_checksum(data + at, len);
        assert_int_equal(load_be16(&folded) % 0xffff, want % 0xffff);
        assert_int_equal(checksum_fold(checksum_copy(0, copy, data + at, len)), folded);
        assert_memory_equal(copy, data + at, len);
    }
}

/* Example of RFC 1071, section 3. */
static void the_example_of_the_rfc_holds(void **state)
{
    (void)state;
    static const uint8_t data[] = { 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7 };
    uint16_t folded = checksum_fold(checksum_add(0, data, sizeof(data)));

    assert_int_equal(load_be16(&folded), 0xddf2);
}

static void random_key(void *out, size_t len)
{
    memset(out, 7, len);
}

static const struct netstack_ops no_ops = { 0 };

static struct netstack *plain_stack(void)
{
    struct netstack_config config = { .ops = &no_ops, .random = random_key };
    struct netstack *ns = NULL;

    assert_int_equal(netstack_new(&ns, &config, 0), 0);
    ns->depth = 1; /* no callbacks */
    return ns;
}

/* However the payload is cut into spans, each packet carries its bytes and a checksum that is right. */
static void segments_are_whole_however_scattered(void **state)
{
    (void)state;
    struct netstack *ns = plain_stack();
    uint8_t data[8000], packet[NETSTACK_MTU];
    struct ip a, b;

    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)chance();
    for (int round = 0; round < 2000; round++) {
        bool v6 = round % 2;
        struct netstack_segment s = { .segment_bytes = (uint16_t)(1 + chance() % 1200) };
        struct tcp_header h = {
            .seq = chance(), .flags = TCP_ACK, .local_port = 1, .remote_port = 2, .window = 3
        };
        size_t at = 0, ip = v6 ? IP6_BYTES : IP4_BYTES;

        assert_true(ip_parse(span_from_str(v6 ? "fd7a::1" : "100.64.0.1"), &a));
        assert_true(ip_parse(span_from_str(v6 ? "fd7a::2" : "100.64.0.2"), &b));
        h.local = a;
        h.remote = b;
        tcp_header_write(ns, &h, &s);
        s.last_flags |= TCP_PSH | TCP_FIN;
        s.span_count = (uint8_t)(1 + chance() % NETSTACK_SPANS_MAX);
        for (uint8_t i = 0; i < s.span_count; i++) {
            s.spans[i] = span_make(data + at, 1 + chance() % 900);
            at += s.spans[i].len;
        }
        s.payload_bytes = (uint32_t)at;
        s.count = (uint32_t)((at + s.segment_bytes - 1) / s.segment_bytes);
        for (uint32_t i = 0; i < s.count; i++) {
            size_t len = netstack_segment_write(&s, i, packet, sizeof(packet)), tcp = len - ip;
            uint64_t sum = inner_pseudo_sum(&a, &b, PROTOCOL_TCP, tcp);

            assert_int_equal(checksum_fold(checksum_add(sum, packet + ip, tcp)), 0xffff);
            assert_memory_equal(packet + ip + 20, data + (size_t)i * s.segment_bytes, tcp - 20);
            assert_int_equal(load_be32(packet + ip + 4), h.seq + i * s.segment_bytes);
            assert_int_equal(packet[ip + 13], TCP_ACK | (i + 1 == s.count ? TCP_PSH | TCP_FIN : 0));
            if (!v6)
                assert_int_equal(checksum_fold(checksum_add(0, packet, 20)), 0xffff);
            assert_int_equal(v6 ? load_be16(packet + 4) + 40u : load_be16(packet + 2), len);
            assert_int_equal(netstack_segment_write(&s, i, packet, len - 1), 0);
        }
    }
    netstack_free(ns);
}

/* ---- the wheel ------------------------------------------------------------------------------------------
 */

#define ENTRIES 200

static void timers_come_when_they_are_due(void **state)
{
    (void)state;
    static struct timer_wheel w;
    static struct timer_entry entries[ENTRIES];
    uint64_t now = 0xfffffff0 - 5000; /* the low 32 bits wrap on the way */
    bool set[ENTRIES] = { false };

    memset(entries, 0, sizeof(entries));
    timer_wheel_init(&w, now);
    for (int round = 0; round < 20000; round++) {
        uint32_t i = chance() % ENTRIES, far = chance() % 4;
        struct list due;

        if (chance() % 3) {
            timer_wheel_set(&w, &entries[i],
                            (uint32_t)now + chance() % (far == 0   ? 10
                                                        : far == 1 ? 600
                                                        : far == 2 ? 70000
                                                                   : 20000000));
            set[i] = true;
        } else {
            timer_wheel_clear(&w, &entries[i]);
            set[i] = false;
        }
        /* The next slot is never later than the earliest entry, and nothing when there is none. */
        uint64_t next = timer_wheel_next(&w);
        bool any = false;

        for (int k = 0; k < ENTRIES; k++)
            if (set[k]) {
                any = true;
                assert_true((int32_t)(entries[k].at - (uint32_t)now) <= 0 ||
                            next <= now + (uint32_t)(entries[k].at - (uint32_t)now));
            }
        assert_int_equal(next != UINT64_MAX, any);
        if (round % 5)
            continue;
        now += chance() % (round % 50 ? 20 : 100000);
        list_init(&due);
        timer_wheel_advance(&w, now, &due);
        for (struct list *link; (link = list_pop_front(&due));) {
            struct timer_entry *e = LIST_ENTRY(link, struct timer_entry, link);

            assert_true((int32_t)(e->at - (uint32_t)now) <= 0 && set[e - entries]);
            set[e - entries] = false;
        }
        for (int k = 0; k < ENTRIES; k++)
            assert_true(!set[k] || (int32_t)(entries[k].at - (uint32_t)now) > 0 || round == 0 ||
                        entries[k].at == (uint32_t)now);
    }
}

/* ---- the table --------------------------------------------------------------------------------------------
 */

static void flows_are_found_until_removed(void **state)
{
    (void)state;
    struct netstack *ns = plain_stack();
    static struct time_wait_record r;
    static uint32_t slots[3000];
    static bool there[3000];
    uint32_t next = 0;

    memset(there, 0, sizeof(there));
    for (int round = 0; round < 30000; round++) {
        uint32_t i = chance() % (round < 15000 ? 3000 : 40);
        struct flow_key key = {
            .node = i % 7, .local_port = (uint16_t)i, .remote_port = 9, .remote = { { 1 } }
        };
        uint32_t hash = flow_hash(ns, &key);
        flow_ref ref = flow_find(ns, &key, hash);

        assert_int_equal(ref != 0, there[i]);
        if (there[i]) {
            assert_int_equal(ref, flow_ref_make(FLOW_TIME_WAIT, slots[i]));
            time_wait_forget(ns, time_wait_at(ns, slots[i]));
        } else {
            r = (struct time_wait_record) { .key = key };
            slots[i] = (uint32_t)ns->time_wait.next;
            time_wait_add(ns, &r);
            next++;
        }
        there[i] = !there[i];
        if (round == 15000)
            for (uint32_t k = 40; k < 3000; k++)
                if (there[k]) {
                    time_wait_forget(ns, time_wait_at(ns, slots[k]));
                    there[k] = false;
                }
    }
    assert_true(next > 10000);
    /* Nothing of the busy time is left: the table shrank, and the queue holds what is alive and little more.
     */
    assert_true(ns->flows.size <= 512);
    netstack_free(ns);
}

/* ---- records
 * ------------------------------------------------------------------------------------------------ */

/* A byte map beside the records: whatever is acknowledged or SACKed, in whatever pieces, the sums agree. */
static void records_agree_with_a_byte_map(void **state)
{
    (void)state;
    struct netstack *ns = plain_stack();
    static uint8_t map[40000];

    for (int round = 0; round < 300; round++) {
        struct ns_peer peer = { .mtu = NETSTACK_MTU };
        struct tcp_conn c = { .peer = &peer, .snd_mss = 1000, .flags = CONN_SACK, .min_rtt_us = 1 };
        uint32_t base = 0xffffffff - chance() % 30000;

        c.snd_una = c.snd_nxt = base;
        assert_non_null(tcp_tx_get(ns, &c));
        memset(map, 0, sizeof(map));
        for (int k = 0; k < 100; k++) {
            struct ack_facts facts = { 0 };
            uint32_t out = c.snd_nxt - c.snd_una, a, b, delivered = 0;

            if (chance() % 3 == 0 && c.snd_nxt - base < 30000) {
                uint32_t len = 1 + chance() % 5000;

                assert_true(records_push(c.tx, c.snd_nxt, c.snd_nxt + len, (uint32_t)k));
                c.snd_nxt += len;
            } else if (out && chance() % 2) {
                a = c.snd_una + chance() % out;
                b = a + 1 + chance() % (c.snd_nxt - a);
                for (uint32_t i = a - base; i < b - base; i++) {
                    delivered += !map[i];
                    map[i] = 1;
                }
                records_sacked(ns, &c, a, b, &facts);
                assert_int_equal(facts.delivered, delivered);
            } else if (out && chance() % 3 == 0) {
                a = c.snd_una + 1 + chance() % out;
                for (uint32_t i = c.snd_una - base; i < a - base; i++) {
                    delivered += !map[i];
                    map[i] = 1;
                }
                records_acked(ns, &c, a, &facts);
                c.snd_una = a;
                assert_int_equal(facts.delivered, delivered);
            } else if (chance() % 4 == 0) {
                records_mark_all_lost(&c);
            }
            records_check(&c);
            delivered = 0;
            for (uint32_t i = c.snd_una - base; i < c.snd_nxt - base; i++)
                delivered += map[i];
            assert_int_equal(c.tx->sacked, delivered);
        }
        records_free(c.tx);
        cache_release(&ns->tx_cache, c.tx);
    }
    netstack_free(ns);
}

/* ---- chunks
 * --------------------------------------------------------------------------------------------------- */

/* Bytes written one by one take no more than twice their size, and nothing is left when they are gone. */
static void small_writes_do_not_waste_memory(void **state)
{
    (void)state;
    struct netstack *ns = plain_stack();
    struct chunk_queue q = { 0 }, parts = { 0 };
    uint8_t byte = 1;

    for (int i = 0; i < 200000; i++)
        assert_int_equal(chunk_queue_append(ns, &q, span_make(&byte, 1)), 1);
    assert_true(q.memory <= 2 * 200000 + 2048);
    chunk_queue_consume(ns, &q, 200000);
    assert_int_equal(ns->chunk_bytes, 0);
    for (int i = 0; i < 20000; i++) {
        struct chunk_queue one = { 0 };

        assert_int_equal(chunk_queue_append(ns, &one, span_make(&byte, 1)), 1);
        chunk_queue_splice(ns, &parts, &one);
    }
    assert_int_equal(parts.bytes, 20000);
    assert_true(parts.memory <= 2 * 20000 + 2048);
    chunk_queue_clear(ns, &parts);
    assert_int_equal(ns->chunk_bytes, 0);
    netstack_free(ns);
}

/* A place is the end of the last chunk or all of a new one, which goes with the queue if nothing comes. */
static void a_place_that_is_not_used_goes_with_the_queue(void **state)
{
    (void)state;
    static uint8_t bytes[40000];
    struct netstack *ns = plain_stack();
    struct chunk_queue q = { 0 };
    struct mspan room;

    assert_int_equal(chunk_queue_append(ns, &q, span_make(bytes, 1000)), 1000);
    assert_int_equal(chunk_queue_room(ns, &q).len, 0);
    while (!(room = chunk_queue_room(ns, &q)).len)
        assert_int_equal(chunk_queue_append(ns, &q, SPAN_OF(bytes)), sizeof(bytes));
    assert_int_equal(chunk_queue_append(ns, &q, span_make(room.data, room.len)), room.len);
    assert_true(chunk_queue_room(ns, &q).len > 60000);
    assert_ptr_equal(chunk_queue_room(ns, &q).data, q.tail->data);
    chunk_queue_consume(ns, &q, q.bytes);
    assert_null(q.head);
    assert_int_equal(ns->chunk_bytes, 0);
    netstack_free(ns);
}

static void what_a_burst_freed_waits_for_the_next_one(void **state)
{
    (void)state;
    struct object_cache c = { .bytes = 16384 };
    void *held[100];

    for (int i = 0; i < 100; i++)
        assert_non_null(held[i] = cache_alloc(&c));
    for (int i = 0; i < 50; i++)
        cache_release(&c, held[i]);
    assert_int_equal(c.kept, 50); /* as many as are in use */
    for (int i = 50; i < 100; i++)
        cache_release(&c, held[i]);
    assert_in_range(c.kept * c.bytes, 256 << 10, 512 << 10);
    cache_trim(&c);
    assert_int_equal(c.kept, 0);
    assert_null(c.free);
}

/* Large chunks are what a stream's window is made of: a part of it stays, not more. */
static void of_a_windows_chunks_some_wait_for_the_next_one(void **state)
{
    (void)state;
    struct object_cache c = { .bytes = 65536 };
    void *held[100];

    for (int i = 0; i < 100; i++)
        assert_non_null(held[i] = cache_alloc(&c));
    for (int i = 0; i < 95; i++)
        cache_release(&c, held[i]);
    assert_int_equal(c.kept + c.used, 16);
    for (int i = 95; i < 100; i++)
        cache_release(&c, held[i]);
    assert_int_equal(c.kept, 16);
    cache_trim(&c);
    assert_null(c.free);
}

static void rates_allow_bursts_and_no_more(void **state)
{
    (void)state;
    struct rate r = { 0 };
    int passed = 0;

    for (uint32_t ms = 5000; ms < 15000; ms++)
        for (int k = 0; k < 3; k++)
            passed += rate_pass(&r, 100, 20, ms);
    assert_in_range(passed, 1000, 1025);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_those_of_the_rfc),
        cmocka_unit_test(the_example_of_the_rfc_holds),
        cmocka_unit_test(segments_are_whole_however_scattered),
        cmocka_unit_test(timers_come_when_they_are_due),
        cmocka_unit_test(flows_are_found_until_removed),
        cmocka_unit_test(records_agree_with_a_byte_map),
        cmocka_unit_test(small_writes_do_not_waste_memory),
        cmocka_unit_test(a_place_that_is_not_used_goes_with_the_queue),
        cmocka_unit_test(what_a_burst_freed_waits_for_the_next_one),
        cmocka_unit_test(of_a_windows_chunks_some_wait_for_the_next_one),
        cmocka_unit_test(rates_allow_bursts_and_no_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
