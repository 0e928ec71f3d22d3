/* Threads that sit down, publish, ask and leave at one table. */
#include "underlay/survey.h"

#include <pthread.h>
#include <stdlib.h>

#include "check.h"

#define THREADS 4
#define ROUNDS 500

static struct underlay_survey *survey;
static _Atomic int reports, asked;
static pthread_barrier_t together;

static void on_letter(void *owner, struct ev_letter *base, time_ns now)
{
    struct survey_letter *l = CONTAINER_OF(base, struct survey_letter, base);

    (void)owner;
    (void)now;
    reports += l->kind == SURVEY_REPORT && l->report.home_region != 0;
    asked += l->kind == SURVEY_ASK;
    free(l);
}

static void *sit(void *arg)
{
    static const uint8_t digest[BLAKE2S_BYTES] = { 1 };
    struct underlay_report report = { .home_region = 7, .measured_at = 1 }, read;
    struct survey_seat seat = { 0 };
    struct ev_mailbox *mailbox;
    struct ev_loop *loop;

    (void)arg;
    must(ev_loop_new(&loop) == 0 && ev_mailbox_new(&mailbox, loop, on_letter, NULL) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        must(survey_join(survey, &seat, digest, mailbox) == 0);
        if (i == 0)
            pthread_barrier_wait(&together); /* at least once all of them sit there */
        if (survey_is_surveyor(survey, &seat))
            survey_publish(survey, &seat, &report);
        else
            survey_ask(survey, &seat, 0, i);
        survey_heard(survey, &seat, (uint16_t)(i % 9), i);
        must(survey_heard_at(survey, &seat, 7) <= ROUNDS);
        if (survey_read(survey, &seat, &read))
            must(read.home_region == 7); /* never half a report */
        must(ev_loop_turn(loop, 0) == 0);
        if (i == 0)
            pthread_barrier_wait(&together);
        survey_leave(survey, &seat);
    }
    ev_mailbox_free(mailbox);
    ev_loop_free(loop);
    return NULL;
}

/* The sanitizers watch: no letter reaches a mailbox that is gone, and nothing is left at the end. */
static void seats_come_and_go_while_reports_fly(void **state)
{
    (void)state;
    pthread_t threads[THREADS];

    assert_int_equal(underlay_survey_new(&survey), 0);
    assert_int_equal(pthread_barrier_init(&together, NULL, THREADS), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, sit, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_true(reports >= THREADS - 1);
    underlay_survey_free(survey); /* must() holds that every table is gone */
    pthread_barrier_destroy(&together);
}

/* One at a time measures: the first, and after it the next in order, who is told. */
static void the_next_in_order_takes_over(void **state)
{
    (void)state;
    static const uint8_t digest[BLAKE2S_BYTES] = { 2 };
    struct survey_seat seats[3] = { 0 };
    struct ev_mailbox *mailbox;
    struct ev_loop *loop;

    asked = 0;
    assert_int_equal(underlay_survey_new(&survey), 0);
    assert_int_equal(ev_loop_new(&loop), 0);
    assert_int_equal(ev_mailbox_new(&mailbox, loop, on_letter, NULL), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(survey_join(survey, &seats[i], digest, mailbox), 0);
    for (int i = 0; i < 3; i++) {
        for (int k = i; k < 3; k++)
            assert_int_equal(survey_is_surveyor(survey, &seats[k]), k == i);
        survey_leave(survey, &seats[i]);
    }
    assert_int_equal(survey_join(survey, &seats[0], digest, mailbox), 0);
    assert_int_equal(survey_join(survey, &seats[1], digest, mailbox), 0);
    survey_ask(survey, &seats[1], SEC, 0);
    survey_ask(survey, &seats[1], SEC, 0); /* it has been asked */
    assert_int_equal(ev_loop_turn(loop, 0), 0);
    assert_int_equal(asked, 1);
    survey_leave(survey, &seats[1]);
    survey_leave(survey, &seats[0]);
    ev_mailbox_free(mailbox);
    ev_loop_free(loop);
    underlay_survey_free(survey);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seats_come_and_go_while_reports_fly),
        cmocka_unit_test(the_next_in_order_takes_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
