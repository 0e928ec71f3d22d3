#include "underlay/senders.h"

#include <errno.h>
#include <stdlib.h>

#define BITS_PER_WORD 64

void senders_init(struct senders *s, const uint8_t hash_key[16])
{
    *s = (struct senders) { .table = { .count = 0 } };
    memcpy(s->hash_key, hash_key, sizeof(s->hash_key));
    table_init(&s->table);
    table_init(&s->box_table);
    slab_init(&s->boxes, sizeof(struct box), UNDERLAY_BOX_KEYS_MAX);
    list_init(&s->by_age);
}

/* ---- boxes ------------------------------------------------------------------------ */

static uint64_t box_hash(const struct senders *s, const struct sender *sender, uint32_t node)
{
    struct {
        const struct sender *sender;
        uint64_t node;
    } key = { sender, node };

    return siphash(s->hash_key, &key, sizeof(key));
}

static struct box *find_box(const struct senders *s, const struct sender *sender, uint32_t node)
{
    struct table_node *t = table_first(&s->box_table, box_hash(s, sender, node));

    for (; t; t = table_next_same(t)) {
        struct box *b = TABLE_ENTRY(t, struct box, link);

        if (b->sender == sender && b->node == node)
            return b;
    }
    return NULL;
}

static void drop_box(struct senders *s, struct box *b)
{
    table_remove(&s->box_table, &b->link);
    for (int order = 0; order < ORDERS; order++) {
        list_remove(&b->order[order]);
        if (b->sender->expected[order] == b)
            b->sender->expected[order] = NULL;
    }
    list_remove(&b->by_age);
    b->sender->box_count--;
    wipe(b->key, sizeof(b->key));
    slab_release(&s->boxes, b);
}

static void make_latest(struct list *head, struct list *node)
{
    list_remove(node);
    list_push_back(head, node);
}

/* Pays the X25519. NULL: hostile key, or no memory. The caller has looked that there is none. */
static struct box *make_box(struct senders *s, struct sender *sender, uint32_t node,
                            const struct secret_key *secret, struct underlay_counters *counters)
{
    uint8_t key[KEY_BYTES];
    struct box *b = NULL;

    counters->box_keys_made++;
    if (!box_key_make(key, secret, &sender->key))
        return NULL;
    if (s->boxes.used >= UNDERLAY_BOX_KEYS_MAX)
        drop_box(s, LIST_FIRST(&s->by_age, struct box, by_age));
    b = slab_alloc(&s->boxes);
    if (b) {
        b->sender = sender;
        b->node = node;
        memcpy(b->key, key, sizeof(key));
        if (table_insert(&s->box_table, &b->link, box_hash(s, sender, node))) {
            slab_release(&s->boxes, b);
            b = NULL;
        }
    }
    wipe(key, sizeof(key));
    if (!b) {
        counters->out_of_memory++;
        return NULL;
    }
    for (int order = 0; order < ORDERS; order++)
        list_push_back(&sender->boxes[order], &b->order[order]);
    list_push_back(&s->by_age, &b->by_age);
    sender->box_count++;
    return b;
}

struct box *senders_box(struct senders *s, struct sender *sender, uint32_t node,
                        const struct secret_key *secret, struct underlay_counters *counters)
{
    struct box *b = find_box(s, sender, node);

    if (!b)
        return make_box(s, sender, node, secret, counters);
    make_latest(&s->by_age, &b->by_age);
    return b;
}

void senders_asking(struct senders *s, struct box *b)
{
    make_latest(&s->by_age, &b->by_age);
    make_latest(&b->sender->boxes[ORDER_ANSWERS], &b->order[ORDER_ANSWERS]);
}

/* ---- senders ------------------------------------------------------------------------ */

static uint64_t sender_hash(const struct senders *s, const struct public_key *key)
{
    return siphash(s->hash_key, key->bytes, sizeof(key->bytes));
}

struct sender *senders_find(const struct senders *s, const struct public_key *disco_key)
{
    struct table_node *t = table_first(&s->table, sender_hash(s, disco_key));

    for (; t; t = table_next_same(t)) {
        struct sender *sender = TABLE_ENTRY(t, struct sender, link);

        if (public_key_equal(&sender->key, disco_key))
            return sender;
    }
    return NULL;
}

static void free_sender(struct senders *s, struct sender *sender)
{
    LIST_EACH (b, &sender->boxes[0], struct box, order[0])
        drop_box(s, b);
    table_remove(&s->table, &sender->link);
    free(sender->nodes);
    free(sender);
}

static void free_if_unused(struct senders *s, struct sender *sender)
{
    if (!sender->refs && !sender->known_count)
        free_sender(s, sender);
}

static int find_or_make(struct senders *s, const struct public_key *disco_key, struct sender **out)
{
    struct sender *sender = senders_find(s, disco_key);

    if (!sender) {
        if (s->table.count >= UNDERLAY_SENDERS_MAX)
            return -ENOSPC;
        sender = calloc(1, sizeof(*sender));
        if (!sender)
            return -ENOMEM;
        sender->key = *disco_key;
        for (int order = 0; order < ORDERS; order++)
            list_init(&sender->boxes[order]);
        if (table_insert(&s->table, &sender->link, sender_hash(s, disco_key))) {
            free(sender);
            return -ENOMEM;
        }
    }
    *out = sender;
    return 0;
}

int senders_ref(struct senders *s, const struct public_key *disco_key, struct sender **out)
{
    int r = find_or_make(s, disco_key, out);

    if (!r)
        (*out)->refs++;
    return r;
}

void senders_unref(struct senders *s, struct sender *sender)
{
    if (!sender)
        return;
    must(sender->refs > 0);
    sender->refs--;
    free_if_unused(s, sender);
}

static int make_room_for_bit(struct sender *sender, uint32_t node)
{
    uint32_t words = node / BITS_PER_WORD + 1;
    uint64_t *nodes;

    if (words <= sender->word_count)
        return 0;
    nodes = realloc(sender->nodes, words * sizeof(*nodes));
    if (!nodes)
        return -ENOMEM;
    memset(nodes + sender->word_count, 0, (words - sender->word_count) * sizeof(*nodes));
    sender->nodes = nodes;
    sender->word_count = words;
    return 0;
}

bool senders_known(const struct sender *sender, uint32_t node)
{
    uint32_t word = node / BITS_PER_WORD;

    return word < sender->word_count && sender->nodes[word] >> node % BITS_PER_WORD & 1;
}

static void forget(struct senders *s, struct sender *sender, uint32_t node)
{
    struct box *b = find_box(s, sender, node);

    if (b)
        drop_box(s, b);
    if (!senders_known(sender, node))
        return;
    sender->nodes[node / BITS_PER_WORD] &= ~((uint64_t)1 << node % BITS_PER_WORD);
    sender->known_count--;
}

int senders_set_known(struct senders *s, const struct public_key *disco_key, uint32_t node, bool known)
{
    struct sender *sender = senders_find(s, disco_key);
    int r;

    if (!known) {
        if (sender) {
            forget(s, sender, node);
            free_if_unused(s, sender);
        }
        return 0;
    }
    r = find_or_make(s, disco_key, &sender);
    if (r)
        return r;
    if (senders_known(sender, node))
        return 0;
    r = make_room_for_bit(sender, node);
    if (r) {
        free_if_unused(s, sender);
        return r;
    }
    sender->nodes[node / BITS_PER_WORD] |= (uint64_t)1 << node % BITS_PER_WORD;
    sender->known_count++;
    return 0;
}

void senders_forget_node(struct senders *s, uint32_t node)
{
    size_t bucket = 0;
    struct table_node *t = table_walk(&s->table, NULL, &bucket);

    while (t) {
        struct sender *sender = TABLE_ENTRY(t, struct sender, link);

        t = table_walk(&s->table, t, &bucket);
        forget(s, sender, node);
        free_if_unused(s, sender);
    }
}

void senders_deinit(struct senders *s)
{
    size_t bucket = 0;
    struct table_node *t = table_walk(&s->table, NULL, &bucket);

    while (t) {
        struct sender *sender = TABLE_ENTRY(t, struct sender, link);

        t = table_walk(&s->table, t, &bucket);
        free_sender(s, sender);
    }
    table_deinit(&s->table);
    table_deinit(&s->box_table);
    slab_deinit(&s->boxes);
}

/* ---- whom is it for? -------------------------------------------------------------------- */

static bool try_box(struct box *b, struct search *search)
{
    search->counters->disco_trials++;
    return disco_open(search->envelope, b->key, search->room, &search->inner) == 0;
}

static struct box *box_at(struct list *link, enum search_order order)
{
    return (struct box *)((char *)link - offsetof(struct box, order) - (size_t)order * sizeof(struct list));
}

static struct box *try_known_boxes(struct sender *sender, enum search_order order, struct search *search,
                                   uint32_t limit)
{
    struct box *expected = sender->expected[order];

    if (expected && try_box(expected, search))
        return expected;
    for (struct list *at = sender->boxes[order].prev; at != &sender->boxes[order] && limit; at = at->prev) {
        struct box *b = box_at(at, order);

        if (b == expected)
            continue;
        if (try_box(b, search))
            return b;
        limit--;
    }
    return NULL;
}

/* Whoever followed this one the last time is expected next. */
static void note_match(struct senders *s, struct box *b, enum search_order order)
{
    struct sender *sender = b->sender;
    struct list *next = b->order[order].next;

    if (next != &sender->boxes[order])
        sender->expected[order] = box_at(next, order);
    make_latest(&s->by_age, &b->by_age);
    if (order == ORDER_ASKING)
        make_latest(&sender->boxes[order], &b->order[order]); /* answers are ordered by our asking */
}

/* Nodes that know the sender and have no key yet, while the budget lasts. */
static struct box *try_first_contacts(struct senders *s, struct sender *sender, struct search *search)
{
    for (uint32_t word = 0; word < sender->word_count; word++)
        for (uint64_t bits = sender->nodes[word]; bits; bits &= bits - 1) {
            uint32_t node = word * BITS_PER_WORD + (uint32_t)__builtin_ctzll(bits);
            struct box *b;

            if (find_box(s, sender, node))
                continue;
            if (budget_empty(&s->first_contacts, search->now)) {
                search->counters->first_contacts_refused++;
                return NULL;
            }
            budget_spend(&s->first_contacts, search->now, SEC / UNDERLAY_FIRST_CONTACTS_PER_SEC);
            b = make_box(s, sender, node, search->secret_of(search->ctx, node), search->counters);
            if (!b)
                return NULL; /* a hostile key is hostile to all */
            if (try_box(b, search))
                return b;
        }
    return NULL;
}

struct box *senders_search(struct senders *s, struct sender *sender, struct search *search)
{
    enum search_order order =
        search->envelope->sealed.len + DISCO_HEADER_BYTES == DISCO_PONG_BYTES ? ORDER_ANSWERS : ORDER_ASKING;
    bool rationed = budget_empty(&sender->failed, search->now) || budget_empty(&s->failed, search->now);
    uint64_t trials = search->counters->disco_trials;
    struct box *b = try_known_boxes(sender, order, search, rationed ? SENDERS_SHORT_SEARCH : UINT32_MAX);

    if (!b && !rationed && sender->box_count < sender->known_count)
        b = try_first_contacts(s, sender, search);
    if (b) {
        note_match(s, b, order);
        return b;
    }
    if (rationed) {
        search->counters->scans_refused++;
        return NULL;
    }
    trials = search->counters->disco_trials - trials;
    budget_spend(&sender->failed, search->now, SEC / SENDERS_FAILED_SEARCHES_PER_SEC);
    budget_spend(&s->failed, search->now, (time_ns)trials * (SEC / SENDERS_FAILED_TRIALS_PER_SEC));
    return NULL;
}

struct box *senders_open(struct senders *s, struct sender *sender, uint32_t node, struct search *search)
{
    struct box *b = find_box(s, sender, node);

    if (!b) {
        if (budget_empty(&s->relayed_contacts, search->now)) {
            search->counters->first_contacts_refused++;
            return NULL;
        }
        budget_spend(&s->relayed_contacts, search->now, SEC / SENDERS_RELAYED_CONTACTS_PER_SEC);
        b = make_box(s, sender, node, search->secret_of(search->ctx, node), search->counters);
    }
    if (!b || !try_box(b, search))
        return NULL;
    make_latest(&s->by_age, &b->by_age);
    return b;
}
