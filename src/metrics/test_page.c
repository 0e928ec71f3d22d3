#include <errno.h>
#include <stdlib.h>

#include "check.h"
#include "metrics/metrics.h"

static const struct metrics_family requests = { "t_requests_total", METRICS_COUNTER, "Requests." };
static const struct metrics_family duration = { "t_duration_seconds", METRICS_SUMMARY, "Of a request." };
static const struct metrics_family unused = { "t_unused", METRICS_GAUGE, "Nothing." };

static struct metrics_page *page;
static struct buf text;

static int set_up(void **state)
{
    (void)state;
    buf_init(&text, 1 << 20);
    return metrics_page_new(&page);
}

static int tear_down(void **state)
{
    (void)state;
    metrics_page_free(page);
    buf_deinit(&text);
    return 0;
}

static void assert_page(const char *want)
{
    assert_int_equal(metrics_page_write(page, &text), 0);
    assert_span_text(buf_span(&text), want);
}

static void samples_of_a_family_stand_together_under_its_head(void **state)
{
    (void)state;
    metrics_put_u64(page, &requests, METRICS_LABELS("service_name", "a", "code", "200"), 3);
    metrics_put(page, &duration, "_sum", METRICS_LABELS("service_name", "a"), 1.5);
    metrics_put_u64(page, &requests, METRICS_LABELS("service_name", "b", "code", "404"), UINT64_MAX);
    assert_page("# HELP t_requests_total Requests.\n"
                "# TYPE t_requests_total counter\n"
                "t_requests_total{service_name=\"a\",code=\"200\"} 3\n"
                "t_requests_total{service_name=\"b\",code=\"404\"} 18446744073709551615\n"
                "# HELP t_duration_seconds Of a request.\n"
                "# TYPE t_duration_seconds summary\n"
                "t_duration_seconds_sum{service_name=\"a\"} 1.5\n");
}

static void values_of_labels_are_escaped(void **state)
{
    (void)state;
    metrics_put_u64(page, &requests, METRICS_LABELS("name", "a\"b\\c\nd"), 1);
    metrics_put_u64(page, &requests, METRICS_LABELS("name", ""), 2);
    metrics_put_u64(page, &requests, NULL, 3);
    assert_page("# HELP t_requests_total Requests.\n"
                "# TYPE t_requests_total counter\n"
                "t_requests_total{name=\"a\\\"b\\\\c\\nd\"} 1\n"
                "t_requests_total{name=\"\"} 2\n"
                "t_requests_total 3\n");
}

static void pages_of_several_shards_become_one(void **state)
{
    struct metrics_page *other;

    (void)state;
    assert_int_equal(metrics_page_new(&other), 0);
    metrics_put_u64(other, &unused, NULL, 0);
    metrics_put_u64(other, &requests, METRICS_LABELS("shard", "1"), 2);
    metrics_put_u64(page, &requests, METRICS_LABELS("shard", "0"), 1);
    metrics_page_add(page, other);
    metrics_page_free(other);
    assert_page("# HELP t_requests_total Requests.\n"
                "# TYPE t_requests_total counter\n"
                "t_requests_total{shard=\"0\"} 1\n"
                "t_requests_total{shard=\"1\"} 2\n"
                "# HELP t_unused Nothing.\n"
                "# TYPE t_unused gauge\n"
                "t_unused 0\n");
}

static void an_empty_page_has_no_heads(void **state)
{
    (void)state;
    assert_page("");
}

static void a_page_over_the_limit_is_refused_as_a_whole(void **state)
{
    char *huge = malloc(METRICS_BYTES_MAX + 1);

    (void)state;
    assert_non_null(huge);
    memset(huge, 'x', METRICS_BYTES_MAX);
    huge[METRICS_BYTES_MAX] = 0;
    metrics_put_u64(page, &requests, METRICS_LABELS("name", huge), 1);
    metrics_put_u64(page, &requests, NULL, 1);
    assert_int_equal(metrics_page_write(page, &text), -ENOBUFS);
    free(huge);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(samples_of_a_family_stand_together_under_its_head),
        T(values_of_labels_are_escaped),
        T(pages_of_several_shards_become_one),
        T(an_empty_page_has_no_heads),
        T(a_page_over_the_limit_is_refused_as_a_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
