#include "underlay/survey.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define NEVER INT64_MIN

struct heard {
    uint16_t region; /* 0: free */
    time_ns at;
};

struct survey_table {
    struct list link;
    struct list seats; /* the surveyor first */
    uint8_t digest[BLAKE2S_BYTES];
    bool asked;                    /* a letter is on its way to the surveyor */
    struct underlay_report report; /* measured_at and home_region 0: none yet */
    struct heard heard[UNDERLAY_REGIONS_MAX];
};

struct underlay_survey {
    pthread_mutex_t lock;
    struct list tables; /* at most UNDERLAY_MAPS_MAX per shard */
};

/* ---- life ------------------------------------------------------------------------------- */

int underlay_survey_new(struct underlay_survey **out)
{
    struct underlay_survey *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    pthread_mutex_init(&s->lock, NULL);
    list_init(&s->tables);
    *out = s;
    return 0;
}

void underlay_survey_free(struct underlay_survey *s)
{
    if (!s)
        return;
    must(list_empty(&s->tables)); /* an underlay is still there */
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- seats ------------------------------------------------------------------------------- */

static struct survey_table *find_table(struct underlay_survey *s, const uint8_t digest[BLAKE2S_BYTES])
{
    LIST_EACH (t, &s->tables, struct survey_table, link)
        if (memcmp(t->digest, digest, BLAKE2S_BYTES) == 0)
            return t;
    return NULL;
}

static struct survey_table *make_table(struct underlay_survey *s, const uint8_t digest[BLAKE2S_BYTES])
{
    struct survey_table *t = calloc(1, sizeof(*t));

    if (!t)
        return NULL;
    list_init(&t->seats);
    memcpy(t->digest, digest, BLAKE2S_BYTES);
    list_push_back(&s->tables, &t->link);
    return t;
}

static struct survey_seat *surveyor_of(struct survey_table *t)
{
    return LIST_FIRST(&t->seats, struct survey_seat, link);
}

/* A letter lost for want of memory is made up for by the next report. */
static void post(const struct survey_table *t, const struct survey_seat *to, enum survey_letter_kind kind)
{
    struct survey_letter *l = malloc(sizeof(*l));

    if (!l)
        return;
    *l = (struct survey_letter) { .kind = kind };
    memcpy(l->digest, t->digest, BLAKE2S_BYTES);
    if (kind == SURVEY_REPORT)
        l->report = t->report;
    ev_mailbox_post(to->mailbox, &l->base);
}

int survey_join(struct underlay_survey *s, struct survey_seat *seat, const uint8_t digest[BLAKE2S_BYTES],
                struct ev_mailbox *mailbox)
{
    struct survey_table *t;

    if (!s)
        return 0;
    pthread_mutex_lock(&s->lock);
    t = find_table(s, digest);
    if (!t)
        t = make_table(s, digest);
    if (t) {
        seat->table = t;
        seat->mailbox = mailbox;
        list_push_back(&t->seats, &seat->link);
    }
    pthread_mutex_unlock(&s->lock);
    return t ? 0 : -ENOMEM;
}

void survey_leave(struct underlay_survey *s, struct survey_seat *seat)
{
    struct survey_table *t = seat->table;
    bool was_surveyor;

    if (!t)
        return;
    pthread_mutex_lock(&s->lock);
    was_surveyor = surveyor_of(t) == seat;
    list_remove(&seat->link);
    seat->table = NULL;
    if (list_empty(&t->seats)) {
        list_remove(&t->link);
        free(t);
    } else if (was_surveyor) {
        t->asked = false;
        post(t, surveyor_of(t), SURVEY_TAKE_OVER);
    }
    pthread_mutex_unlock(&s->lock);
}

bool survey_is_surveyor(struct underlay_survey *s, const struct survey_seat *seat)
{
    bool is;

    if (!seat->table)
        return true;
    pthread_mutex_lock(&s->lock);
    is = surveyor_of(seat->table) == seat;
    pthread_mutex_unlock(&s->lock);
    return is;
}

/* ---- reports ------------------------------------------------------------------------------ */

bool survey_read(struct underlay_survey *s, const struct survey_seat *seat, struct underlay_report *out)
{
    bool there;

    if (!seat->table)
        return false;
    pthread_mutex_lock(&s->lock);
    *out = seat->table->report;
    there = out->measured_at || out->home_region;
    pthread_mutex_unlock(&s->lock);
    return there;
}

void survey_publish(struct underlay_survey *s, struct survey_seat *seat, const struct underlay_report *report)
{
    struct survey_table *t = seat->table;

    if (!t)
        return;
    pthread_mutex_lock(&s->lock);
    t->report = *report;
    t->asked = false;
    LIST_EACH (other, &t->seats, struct survey_seat, link)
        if (other != seat)
            post(t, other, SURVEY_REPORT);
    pthread_mutex_unlock(&s->lock);
}

void survey_ask(struct underlay_survey *s, struct survey_seat *seat, time_ns age, time_ns now)
{
    struct survey_table *t = seat->table;

    if (!t)
        return;
    pthread_mutex_lock(&s->lock);
    if (!t->asked && surveyor_of(t) != seat &&
        (!t->report.measured_at || now - t->report.measured_at >= age)) {
        t->asked = true;
        post(t, surveyor_of(t), SURVEY_ASK);
    }
    pthread_mutex_unlock(&s->lock);
}

/* ---- relays heard -------------------------------------------------------------------------- */

static struct heard *heard_of(struct survey_table *t, uint16_t region, bool make)
{
    for (size_t i = 0; i < COUNT_OF(t->heard); i++) {
        if (t->heard[i].region == region)
            return &t->heard[i];
        if (t->heard[i].region)
            continue;
        if (!make)
            return NULL;
        t->heard[i].region = region;
        return &t->heard[i];
    }
    return NULL; /* the map has fewer: somebody made it up */
}

void survey_heard(struct underlay_survey *s, struct survey_seat *seat, uint16_t region, time_ns now)
{
    struct heard *h;

    if (!seat->table || !region)
        return;
    pthread_mutex_lock(&s->lock);
    h = heard_of(seat->table, region, true);
    if (h)
        h->at = now;
    pthread_mutex_unlock(&s->lock);
}

time_ns survey_heard_at(struct underlay_survey *s, const struct survey_seat *seat, uint16_t region)
{
    const struct heard *h;
    time_ns at = NEVER;

    if (!seat->table || !region)
        return NEVER;
    pthread_mutex_lock(&s->lock);
    h = heard_of(seat->table, region, false);
    if (h)
        at = h->at;
    pthread_mutex_unlock(&s->lock);
    return at;
}
