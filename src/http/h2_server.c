#include <errno.h>
#include <stdlib.h>

#include "http/h2_server_internal.h"
#include "metrics/metrics.h"

/* Twice what all streams together may hold: nghttp2 gives a window back only when half of it was taken, and
 * that half must not be held by streams whose owners take nothing. */
#define WINDOW_TOTAL_BYTES \
    ((int32_t)(2 * (H2_SERVER_STREAMS_MAX * H2_SERVER_WINDOW_BYTES + H2_SERVER_WINDOW_EXTRA_BYTES)))

/* ---- the session --------------------------------------------------------------- */

static int make_session(struct h2_server *s)
{
    nghttp2_session_callbacks *cb = NULL;
    nghttp2_mem mem = h2_lender_mem(&s->memory); /* copied by nghttp2 */
    nghttp2_option *option = NULL;
    int r = -1;

    if (nghttp2_session_callbacks_new(&cb) || nghttp2_option_new(&option))
        goto out;
    h2_server_watch_limits(cb);
    h2_server_watch_heads(cb);
    h2_server_watch_requests(cb);
    h2_server_watch_output(cb);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_max_deflate_dynamic_table_size(option, 0);
    s->memory.lending = s->memory.scratch;
    r = nghttp2_session_server_new3(&s->session, cb, s, option, &mem);
    s->memory.lending = false;
out:
    nghttp2_session_callbacks_del(cb);
    nghttp2_option_del(option);
    return r ? -ENOMEM : 0;
}

/* The client is told to keep no HPACK table; nghttp2 is told the protocol's size. It would otherwise end the
 * connection of a client that keeps none anyway and so has no size update to begin with (RFC 7541 4.2; .NET's
 * HttpClient, for one). Who keeps a table all the same is served: its connection does not rest. */
static void say_no_table(struct h2_server *s)
{
    uint8_t *entry = s->out.data + s->out.start + 9;

    must(s->out.len >= 9 + 6 && load_be16(entry) == NGHTTP2_SETTINGS_HEADER_TABLE_SIZE);
    store_be32(entry + 2, 0);
}

static int greet(struct h2_server *s)
{
    nghttp2_settings_entry settings[] = {
        { NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, NGHTTP2_DEFAULT_HEADER_TABLE_SIZE }, /* see say_no_table */
        { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, s->streams_max },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, s->head_bytes_max + 32 * H2_SERVER_HEADERS_MAX },
        { NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },
        { NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1 },
    };

    if (nghttp2_submit_settings(s->session, NGHTTP2_FLAG_NONE, settings,
                                COUNT_OF(settings) - (s->extended_connect ? 0 : 1)) ||
        nghttp2_session_set_local_window_size(s->session, NGHTTP2_FLAG_NONE, 0, WINDOW_TOTAL_BYTES))
        return -ENOMEM;
    h2_server_pump(s);
    if (h2_server_broken(s))
        return -ENOMEM;
    if (!s->muted)
        say_no_table(s);
    return 0;
}

int h2_server_open(struct h2_server *s)
{
    int r = make_session(s);

    return r ? r : greet(s);
}

/* ---- life -------------------------------------------------------------------- */

int h2_server_new(struct h2_server **out, const struct h2_server_config *config,
                  const struct h2_server_ops *ops, void *ctx, uint8_t *scratch)
{
    static const struct h2_server_config defaults = { 0 };
    struct h2_server *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    if (!config)
        config = &defaults;
    s->ops = ops;
    s->ctx = ctx;
    s->memory.scratch = scratch;
    h2_server_fill_buckets(s);
    s->head_bytes_max = config->head_bytes_max && config->head_bytes_max < H2_SERVER_HEAD_BYTES_MAX
                            ? config->head_bytes_max
                            : H2_SERVER_HEAD_BYTES_MAX;
    s->streams_max = config->streams_max && config->streams_max < H2_SERVER_STREAMS_MAX
                         ? config->streams_max
                         : H2_SERVER_STREAMS_MAX;
    s->extended_connect = config->extended_connect;
    s->boundary.left = NGHTTP2_CLIENT_MAGIC_LEN;
    list_init(&s->requests);
    list_init(&s->waiting);
    buf_init(&s->out, H2_SERVER_PENDING_BYTES_MAX);
    if (h2_server_open(s)) {
        h2_server_free(s);
        return -ENOMEM;
    }
    *out = s;
    return 0;
}

void h2_server_free(struct h2_server *s)
{
    if (!s)
        return;
    s->out_of_memory = true; /* callbacks cannot send any more */
    s->depth++;
    h2_stream_end_all(s);
    nghttp2_session_del(s->session);
    buf_deinit(&s->out);
    free(s);
}

/* ---- in, out ----------------------------------------------------------------- */

int h2_server_feed(struct h2_server *s, struct span bytes, time_ns now)
{
    ssize_t n;

    must(!s->depth);
    s->now = now;
    if (!h2_server_broken(s) && h2_server_wake(s)) {
        h2_server_count_frames(&s->boundary, bytes);
        s->depth++;
        n = nghttp2_session_mem_recv(s->session, bytes.data, bytes.len);
        s->depth--;
        if (n == NGHTTP2_ERR_NOMEM)
            s->out_of_memory = true;
        else if (n < 0 && !h2_server_broken(s))
            s->fault = n == NGHTTP2_ERR_FLOODED ? H2_SERVER_E_CONTROL : H2_SERVER_E_PROTOCOL;
        h2_server_settle(s);
    }
    return s->out_of_memory ? -ENOMEM : s->fault;
}

struct span h2_server_pending(const struct h2_server *s)
{
    return buf_span(&s->out);
}

void h2_server_sent(struct h2_server *s, size_t n)
{
    buf_consume(&s->out, n);
    if (s->out.len < H2_SERVER_QUEUE_BYTES && !h2_server_broken(s))
        LIST_EACH (it, &s->requests, struct h2_stream, link)
            if (it->deferred) {
                it->deferred = false;
                (void)nghttp2_session_resume_data(s->session, (int32_t)it->id);
            }
    if (!h2_server_broken(s))
        h2_server_settle(s);
    buf_trim(&s->out);
}

/* ---- the end ------------------------------------------------------------------- */

/* The client has answered the ping that followed the notice: what it sent before it has arrived. */
static void say_goodbye(struct h2_server *s)
{
    s->closing = true;
    (void)nghttp2_submit_goaway(s->session, NGHTTP2_FLAG_NONE,
                                nghttp2_session_get_last_proc_stream_id(s->session), NGHTTP2_NO_ERROR, NULL,
                                0);
}

void h2_server_control_frame(struct h2_server *s, struct h2_stream *q, const nghttp2_frame *frame)
{
    switch (frame->hd.type) {
    case NGHTTP2_WINDOW_UPDATE:
        h2_server_unblock(s, q);
        break;
    case NGHTTP2_SETTINGS:
        s->greeted |= (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0;
        LIST_EACH (it, &s->requests, struct h2_stream, link)
            h2_server_unblock(s, it);
        break;
    case NGHTTP2_GOAWAY:
        s->closing = true;
        break;
    case NGHTTP2_PING:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) && s->notice_sent && !s->closing)
            say_goodbye(s);
        break;
    default:
        break;
    }
}

void h2_server_shutdown(struct h2_server *s)
{
    static const uint8_t opaque[8] = "goodbye";

    if (h2_server_broken(s) || s->closing || s->notice_sent || !h2_server_wake(s))
        return;
    s->notice_sent = true;
    (void)nghttp2_submit_shutdown_notice(s->session);
    (void)nghttp2_submit_ping(s->session, NGHTTP2_FLAG_NONE, opaque);
    h2_server_settle(s);
}

bool h2_server_finished(const struct h2_server *s)
{
    return (s->closing || h2_server_broken(s)) && !s->running && !s->out.len;
}

size_t h2_server_memory(const struct h2_server *s)
{
    size_t bytes = account_block(s) + account_block(s->out.data) + account_block(s->head) + s->memory.held;

    if (s->head)
        bytes += account_block(s->head->text.data);
    LIST_EACH (q, &s->requests, struct h2_stream, link)
        bytes += account_block(q) + account_block(q->answer);
    return bytes;
}

size_t h2_server_running(const struct h2_server *s)
{
    return s->running;
}

const char *h2_server_fault_text(enum h2_server_fault f)
{
    static const char *const texts[] = { [H2_SERVER_OK] = "",
#define X(name, words) [H2_SERVER_E_##name] = words,
                                         H2_SERVER_FAULTS(X)
#undef X
    };

    return (size_t)f < COUNT_OF(texts) ? texts[f] : "unknown";
}
