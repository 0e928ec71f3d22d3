/* What a request leaves in the counters of its service. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/internal.h"

/* ---- durations ----------------------------------------------------------------- */

#define FIRST_BOUND_NS ((uint64_t)64 << 10) /* of the octave that begins with bucket 0: 65,536 ns */

time_ns proxy_duration_bound(size_t bucket)
{
    uint64_t octave = FIRST_BOUND_NS << (bucket / 2);

    if (bucket + 1 >= PROXY_DURATION_BUCKETS)
        return TIME_NEVER;
    return (time_ns)(bucket % 2 ? octave * 2 : octave + octave * 53 / 128); /* the square root of two */
}

static void add(struct proxy_durations *d, time_ns took)
{
    size_t i = 0;

    took = MAX(took, (time_ns)0);
    while (took >= proxy_duration_bound(i) && i + 1 < PROXY_DURATION_BUCKETS)
        i++;
    d->buckets[i]++;
    d->count++;
    d->sum_ns += (uint64_t)took;
}

time_ns proxy_duration_quantile(const struct proxy_durations *d, double share)
{
    double wanted = share * (double)d->count, below = 0;
    time_ns low = 0;

    for (size_t i = 0; i < PROXY_DURATION_BUCKETS; i++) {
        time_ns high = proxy_duration_bound(i);
        double here = (double)d->buckets[i];

        if (here > 0 && below + here >= wanted) {
            if (high == TIME_NEVER)
                return low;
            return low + (time_ns)((double)(high - low) * (wanted - below) / here);
        }
        below += here;
        low = high;
    }
    return 0;
}

static struct proxy_timing *timing_of(struct proxy_service *s)
{
    if (!s->timing)
        s->counters.timing = s->timing = calloc(1, sizeof(*s->timing)); /* none: nothing is measured */
    return s->timing;
}

const char *proxy_auth_result_name(enum proxy_auth_result r)
{
    static const char *const names[] = {
#define X(id, name) [PROXY_AUTH_##id] = (name),
        PROXY_AUTH_RESULTS(X)
#undef X
    };

    return r < PROXY_AUTH_COUNT ? names[r] : "";
}

/* ---- trouble -------------------------------------------------------------------- */

void count_failure(struct backend *b, const char *why, time_ns now)
{
    struct proxy_trouble *t = b->trouble ? b->trouble : (b->trouble = calloc(1, sizeof(*t)));

    if (!t)
        return; /* no memory: the log has it */
    if (t->answers_since || !t->times) {
        *t = (struct proxy_trouble) { .first = now };
        t->where = b->to.text;
    }
    t->times++;
    t->last = now;
    snprintf(t->why, sizeof(t->why), "%s", why);
}

static void count_well(struct backend *b, time_ns now)
{
    if (b->trouble && !b->trouble->answers_since)
        b->trouble->answers_since = now;
}

const struct proxy_trouble *proxy_service_trouble(const struct proxy_service *s)
{
    return s->backend.trouble;
}

const struct proxy_trouble *proxy_service_auth_trouble(const struct proxy_service *s)
{
    return s->auth ? s->auth->backend.trouble : NULL;
}

/* ---- results -------------------------------------------------------------------- */

static size_t class_of(unsigned status)
{
    return status < 600 ? status / 100 : 0;
}

void count_answer(struct exchange *x, time_ns now)
{
    struct proxy_service *s = x->conn->service;
    struct proxy_timing *t = timing_of(s);

    x->answered = now;
    s->counters.answers[class_of(x->response->status)]++;
    count_well(&s->backend, now);
    if (t)
        add(&t->upstream, now - x->asked);
}

void count_auth(struct proxy_service *s, enum proxy_auth_result result, time_ns took)
{
    struct proxy_timing *t = timing_of(s);

    s->counters.auth[result]++;
    if (t && result != PROXY_AUTH_BYPASS)
        add(&t->auth, took);
    if (result != PROXY_AUTH_BYPASS && result != PROXY_AUTH_ERROR)
        count_well(&s->auth->backend, ev_now(s->shard->loop));
}

const char *proxy_tls_fault_name(enum proxy_tls_fault f)
{
    static const char *const names[] = {
#define X(id, name) [PROXY_TLS_##id] = (name),
        PROXY_TLS_FAULTS(X)
#undef X
    };

    return f < PROXY_TLS_FAULT_COUNT ? names[f] : "";
}

/* Browsers open connections that they then do not need: leaving is no news. */
static void tell_tls_failed(const struct conn *c, time_ns now)
{
    struct proxy_service *s = c->service;
    char who[IP_TEXT_BYTES], why[STREAM_FAILURE_BYTES];
    uint32_t held_back;

    if (log_limit_pass(&s->tls_lines, now, &held_back))
        log_info(s->name, "no TLS connection with %s: %s", ip_text(&c->arrival.peer.ip, who),
                 stream_failure(c->stream, why));
}

void count_tls_failed(const struct conn *c, bool timeout, time_ns now)
{
    static const uint8_t rows[] = {
#define X(id) [TLS_FAULT_##id] = PROXY_TLS_##id,
        TLS_FAULTS(X)
#undef X
    };
    enum proxy_tls_fault why = timeout ? PROXY_TLS_TIMEOUT : rows[tls_stream_fault(c->stream)];

    c->service->counters.tls_failed[why]++;
    if (why != PROXY_TLS_LEFT && why != PROXY_TLS_TIMEOUT)
        tell_tls_failed(c, now);
}

const char *proxy_h2_fault_name(enum proxy_h2_fault f)
{
    static const char *const names[] = {
#define X(id, name) [PROXY_H2_##id] = (name),
        PROXY_H2_FAULTS(X)
#undef X
    };

    return f < PROXY_H2_FAULT_COUNT ? names[f] : "";
}

void count_h2_given_up(struct proxy_service *s, enum h2_server_fault fault)
{
    static const uint8_t rows[] = {
#define X(id, name) [H2_SERVER_E_##id] = PROXY_H2_##id,
        PROXY_H2_FAULTS(X)
#undef X
    };
#define X(id, words) +1
    static_assert(COUNT_OF(rows) == 1 H2_SERVER_FAULTS(X), "a fault without a row");
#undef X

    must(fault && fault < COUNT_OF(rows));
    s->counters.h2.given_up[rows[fault]]++;
}

static void count_code(struct proxy_counters *n, uint16_t code)
{
    for (size_t i = 0; code && i < PROXY_CODES_MAX; i++) {
        if (n->codes[i].code && n->codes[i].code != code)
            continue;
        n->codes[i].code = code;
        n->codes[i].count++;
        return;
    }
}

void count_end(struct exchange *x, time_ns now)
{
    struct proxy_service *s = x->conn->service;
    struct proxy_counters *n = &s->counters;
    struct proxy_timing *t = timing_of(s);

    n->requests[class_of(x->status)]++;
    count_code(n, x->status);
    n->h2.requests += x->conn->side != NULL;
    n->bytes_in += x->bytes_in;
    n->bytes_out += x->bytes_out;
    if (t)
        add(&t->request, now - x->began);
}

/* ---- a service that takes another one's place ------------------------------------- */

static void move(uint64_t *to, uint64_t *from)
{
    *to += *from;
    *from = 0;
}

static void move_codes(struct proxy_counters *to, struct proxy_counters *from)
{
    for (size_t i = 0; i < PROXY_CODES_MAX && from->codes[i].code; i++)
        for (size_t k = 0; k < PROXY_CODES_MAX; k++) {
            if (to->codes[k].code && to->codes[k].code != from->codes[i].code)
                continue;
            to->codes[k].code = from->codes[i].code;
            move(&to->codes[k].count, &from->codes[i].count);
            break;
        }
    memset(from->codes, 0, sizeof(from->codes));
}

static void move_durations(struct proxy_durations *to, struct proxy_durations *from)
{
    move(&to->count, &from->count);
    move(&to->sum_ns, &from->sum_ns);
    for (size_t i = 0; i < PROXY_DURATION_BUCKETS; i++)
        move(&to->buckets[i], &from->buckets[i]);
}

static void move_timing(struct proxy_service *to, struct proxy_service *from)
{
    if (!from->timing || !timing_of(to))
        return;
    move_durations(&to->timing->request, &from->timing->request);
    move_durations(&to->timing->upstream, &from->timing->upstream);
    move_durations(&to->timing->auth, &from->timing->auth);
}

/* The later one counts. */
static void move_trouble(struct backend *to, struct backend *from)
{
    struct proxy_trouble *t = from->trouble;

    if (!t || strcmp(to->to.text, from->to.text) != 0 || (to->trouble && to->trouble->last >= t->last))
        return;
    free(to->trouble);
    to->trouble = t;
    t->where = to->to.text;
    from->trouble = NULL;
}

void proxy_service_move_counters(struct proxy_service *to_service, struct proxy_service *from_service)
{
    struct proxy_counters *to = &to_service->counters, *from = &from_service->counters;

    move(&to->connections, &from->connections);
    for (size_t i = 0; i < COUNT_OF(to->requests); i++) {
        move(&to->requests[i], &from->requests[i]);
        move(&to->answers[i], &from->answers[i]);
    }
    move_codes(to, from);
    move(&to->bytes_in, &from->bytes_in);
    move(&to->bytes_out, &from->bytes_out);
    move(&to->upgrades, &from->upgrades);
    move(&to->upstream_connects, &from->upstream_connects);
    move(&to->upstream_retries, &from->upstream_retries);
    move(&to->upstream_waits, &from->upstream_waits);
    move(&to->upstream_refusals, &from->upstream_refusals);
    move(&to->proxy_errors, &from->proxy_errors);
    move(&to->client_aborts, &from->client_aborts);
    move(&to->refused, &from->refused);
    move(&to->not_allowed, &from->not_allowed);
    for (size_t i = 0; i < PROXY_AUTH_COUNT; i++)
        move(&to->auth[i], &from->auth[i]);
    move(&to->log_lines_dropped, &from->log_lines_dropped);
    for (size_t i = 0; i < PROXY_TLS_FAULT_COUNT; i++)
        move(&to->tls_failed[i], &from->tls_failed[i]);
    move(&to->h2.connections, &from->h2.connections);
    move(&to->h2.requests, &from->h2.requests);
    move(&to->h2.resets, &from->h2.resets);
    for (size_t i = 0; i < PROXY_H2_FAULT_COUNT; i++)
        move(&to->h2.given_up[i], &from->h2.given_up[i]);
    move_timing(to_service, from_service);
    move_trouble(&to_service->backend, &from_service->backend);
    if (to_service->auth && from_service->auth)
        move_trouble(&to_service->auth->backend, &from_service->auth->backend);
}
