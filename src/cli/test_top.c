#include <stdio.h>

#include "check.h"
#include "cli/top.h"

static struct top_sample before, now;
static struct buf text;

static int set_up(void **state)
{
    (void)state;
    buf_init(&text, 1 << 20);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    buf_deinit(&text);
    top_sample_free(&before);
    top_sample_free(&now);
    return 0;
}

/* Two services; `a` has cost a_us, `b` b_us. */
static void sample(struct top_sample *out, time_ns at, int a_us, int b_us, int requests)
{
    char json[2048];

    snprintf(
        json, sizeof(json),
        "{\"uptimeSeconds\":100,\"services\":["
        "{\"name\":\"a\",\"state\":\"running\",\"bytesIn\":1000,\"bytesOut\":2000,\"requests\":{"
        "\"total\":%d},"
        "\"peers\":[{\"path\":\"direct\"},{\"path\":\"relay\"}],"
        "\"cost\":{\"cpuMicroseconds\":{\"proxy\":%d,\"tls\":1},\"memoryBytesTotal\":1500,"
        "\"traffic\":{\"paths\":{\"bytesIn\":9,\"packetsIn\":3,\"packetsOut\":4}}}},"
        "{\"name\":\"b\",\"state\":\"needs "
        "login\",\"peers\":[],\"cost\":{\"cpuMicroseconds\":{\"control\":%d},\"memoryBytesTotal\":3000000}}],"
        "\"memory\":{\"residentBytes\":8000000,\"netmapBytes\":1000},"
        "\"shards\":[{\"cpuMicroseconds\":50000,\"wakeups\":300,\"cost\":{\"cpuMicroseconds\":{"
        "\"other\":10},\"memoryBytesTotal\":500000,\"traffic\":{\"paths\":{\"bytesIn\":700,\"bytesOut\":300,"
        "\"packetsIn\":5,\"packetsOut\":188}}}}]}",
        requests, a_us, b_us);
    assert_int_equal(top_sample_read(out, span_from_str(json), at), 0);
}

static void what_costs_most_comes_first(void **state)
{
    (void)state;
    sample(&before, 0, 1000000, 100, 0);
    sample(&now, 2 * SEC, 1000100, 1000100, 0);
    top_sample_rates(&now, &before);
    assert_string_equal(now.rows[0].name, "b"); /* since the last sample; `a` did its work before */
    assert_string_equal(now.rows[1].name, "a");
    assert_string_equal(now.rows[2].name, "(shared)");
    assert_true(now.rows[0].cpu > 0.499 && now.rows[0].cpu < 0.501);
    assert_string_equal(now.rows[0].part, "control");
}

static void of_equal_cost_the_one_with_more_requests_comes_first(void **state)
{
    (void)state;
    sample(&before, 0, 100, 100, 0);
    sample(&now, SEC, 100, 100, 5);
    top_sample_rates(&now, &before);
    assert_string_equal(now.rows[0].name, "a"); /* "(shared)" and "b" had none */
}

static void without_an_earlier_sample_the_rates_are_since_the_start(void **state)
{
    (void)state;
    sample(&now, SEC, 1000000, 0, 500);
    top_sample_rates(&now, NULL);
    assert_true(now.rows[0].rps == 5.0);
    assert_true(now.rows[0].in == 10.0);
    assert_true(now.wakeup_rate == 3.0);
}

static const struct top_row *row_of(const struct top_sample *s, const char *name)
{
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->rows[i].name, name) == 0)
            return &s->rows[i];
    return NULL;
}

static void datagrams_are_those_of_all_and_bytes_of_nobodys_are_shared(void **state)
{
    (void)state;
    sample(&now, SEC, 1000000, 0, 500);
    top_sample_rates(&now, NULL);
    assert_true(now.datagram_rate == 2.0);
    assert_true(row_of(&now, "(shared)")->in == 7.0);
    assert_true(row_of(&now, "(shared)")->out == 3.0);
}

static void a_service_that_began_anew_counts_from_nothing(void **state)
{
    (void)state;
    sample(&before, 0, 5000000, 0, 900);
    sample(&now, SEC, 500000, 0, 30);
    top_sample_rates(&now, &before);
    assert_true(row_of(&now, "a")->cpu > 0.499 && row_of(&now, "a")->cpu < 0.501);
    assert_true(row_of(&now, "a")->rps == 30.0);
}

/* Characters of the longest line. */
static size_t widest(void)
{
    struct span s = buf_span(&text);
    size_t best = 0, line = 0;

    for (size_t i = 0; i < s.len; i++) {
        line = s.data[i] == '\n' ? 0 : line + 1;
        best = MAX(best, line);
    }
    return best;
}

static size_t lines(void)
{
    size_t n = 0;

    for (size_t i = 0; i < text.len; i++)
        n += buf_span(&text).data[i] == '\n';
    return n;
}

static void no_line_is_wider_than_the_terminal(void **state)
{
    static const size_t columns[] = { 20, 40, 79, 80, 81, 132, 400 };

    (void)state;
    sample(&now, SEC, 1, 1, 1);
    for (size_t i = 0; i < COUNT_OF(columns); i++) {
        buf_clear(&text);
        assert_int_equal(top_write(&text, &now, false, columns[i], 0), 0);
        assert_true(widest() <= columns[i]);
        assert_int_equal(lines(), 5);
    }
}

static void eighty_columns_are_enough_for_every_column(void **state)
{
    (void)state;
    sample(&now, SEC, 1, 1, 1);
    top_sample_rates(&now, NULL);
    assert_int_equal(top_write(&text, &now, false, 80, 0), 0);
    assert_int_equal(buf_append(&text, span_make("", 1)), 0);
    assert_non_null(strstr((const char *)buf_span(&text).data, "STATE\n"));
    assert_non_null(strstr((const char *)buf_span(&text).data, "1 direct"));
    assert_non_null(strstr((const char *)buf_span(&text).data, "running\n"));
}

static void a_long_name_gives_way_to_the_state(void **state)
{
    (void)state;
    sample(&now, SEC, 1, 1, 1);
    top_sample_rates(&now, NULL);
    memset(now.rows[0].name, 'n', 63);
    strcpy(now.rows[0].state, "starting");
    assert_int_equal(top_write(&text, &now, false, 120, 0), 0);
    assert_int_equal(buf_append(&text, span_make("", 1)), 0);
    assert_non_null(strstr((const char *)buf_span(&text).data, "starting\n"));
}

static void memory_stands_beside_that_of_the_process(void **state)
{
    (void)state;
    sample(&now, SEC, 1, 1, 1);
    top_sample_rates(&now, NULL);
    assert_int_equal(top_write(&text, &now, false, 120, 0), 0);
    assert_int_equal(buf_append(&text, span_make("", 1)), 0);
    assert_non_null(strstr((const char *)buf_span(&text).data, "memory 8.0 MB (below 3.5 MB)"));
    assert_non_null(strstr((const char *)buf_span(&text).data, " 1.5 kB "));
    assert_non_null(strstr((const char *)buf_span(&text).data, " 501 kB ")); /* the shard's, and netmaps */
}

static void rows_come_in_the_order_that_was_asked_for(void **state)
{
    (void)state;
    sample(&now, SEC, 1000000, 100, 500);
    top_sample_rates(&now, NULL);
    assert_string_equal(now.rows[0].name, "a");
    top_sample_sort(&now, top_order_find("memory"));
    assert_string_equal(now.rows[0].name, "b");
    assert_string_equal(now.rows[1].name, "(shared)");
    top_sample_sort(&now, top_order_of_key('r'));
    assert_string_equal(now.rows[0].name, "a");
    top_sample_sort(&now, TOP_BY_NAME);
    assert_string_equal(now.rows[0].name, "(shared)");
    assert_int_equal(top_order_find("colour"), TOP_ORDER_COUNT);
    assert_int_equal(top_order_of_key('x'), TOP_ORDER_COUNT);
}

static void a_small_terminal_shows_the_first_rows(void **state)
{
    (void)state;
    sample(&now, SEC, 1, 1, 1);
    top_sample_rates(&now, NULL);
    assert_int_equal(top_write(&text, &now, false, 80, 3), 0);
    assert_int_equal(lines(), 3);
}

static void nonsense_is_told(void **state)
{
    (void)state;
    assert_int_equal(top_sample_read(&now, span_from_str("{}"), 0), 1);
    assert_int_equal(top_sample_read(&now, span_from_str("what"), 0), 1);
    assert_int_equal(top_sample_read(&now, span_from_str("{\"services\":3,\"shards\":[]}"), 0), 1);
}

static void names_cannot_move_the_cursor(void **state)
{
    (void)state;
    assert_int_equal(
        top_sample_read(&now, span_from_str("{\"services\":[{\"name\":\"a\\u001b[2Jb\"}],\"shards\":[]}"), 0),
        0);
    for (size_t i = 0; i < now.count; i++)
        assert_null(strchr(now.rows[i].name, 27));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(what_costs_most_comes_first),
        T(of_equal_cost_the_one_with_more_requests_comes_first),
        T(without_an_earlier_sample_the_rates_are_since_the_start),
        T(datagrams_are_those_of_all_and_bytes_of_nobodys_are_shared),
        T(a_service_that_began_anew_counts_from_nothing),
        T(no_line_is_wider_than_the_terminal),
        T(eighty_columns_are_enough_for_every_column),
        T(a_long_name_gives_way_to_the_state),
        T(memory_stands_beside_that_of_the_process),
        T(rows_come_in_the_order_that_was_asked_for),
        T(a_small_terminal_shows_the_first_rows),
        T(nonsense_is_told),
        T(names_cannot_move_the_cursor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
