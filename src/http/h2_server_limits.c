/* What a client may do only so often, and what happens when it does more */
#include "http/h2_server_internal.h"

/* Our own verdict: say goodbye, take nothing more. */
static int give_up(struct h2_server *s, enum h2_server_fault why)
{
    if (!s->fault) {
        s->fault = (uint8_t)why;
        (void)nghttp2_session_terminate_session(s->session, NGHTTP2_ENHANCE_YOUR_CALM);
    }
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

static bool spend(struct h2_bucket *b, uint32_t burst, uint32_t per_second, time_ns now)
{
    time_ns earned = (now - b->at) / (SEC / per_second);

    if (earned > 0) {
        b->left = (uint32_t)MIN((time_ns)burst, b->left + earned);
        b->at = b->left == burst ? now : b->at + earned * (SEC / per_second);
    }
    if (!b->left)
        return false;
    b->left--;
    return true;
}

void h2_server_fill_buckets(struct h2_server *s)
{
    s->resets.left = H2_SERVER_RESETS_BURST;
    s->control.left = H2_SERVER_CONTROL_BURST;
}

int h2_server_count_reset(struct h2_server *s)
{
    if (spend(&s->resets, H2_SERVER_RESETS_BURST, H2_SERVER_RESETS_PER_SECOND, s->now))
        return 0;
    return give_up(s, H2_SERVER_E_RESETS);
}

void h2_server_count_data(struct h2_server *s)
{
    s->control.left = MIN(s->control.left + H2_SERVER_CONTROL_PER_DATA, H2_SERVER_CONTROL_BURST);
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user)
{
    struct h2_server *s = user;

    (void)session;
    if (s->muted)
        return 0; /* these frames are our own */
    switch (hd->type) {
    case NGHTTP2_HEADERS:
        s->continuations = 0;
        return 0;
    case NGHTTP2_CONTINUATION:
        return ++s->continuations > H2_SERVER_CONTINUATIONS_MAX ? give_up(s, H2_SERVER_E_CONTINUATIONS) : 0;
    case NGHTTP2_DATA:
        if (hd->length || (hd->flags & NGHTTP2_FLAG_END_STREAM))
            return 0;
        break;
    case NGHTTP2_RST_STREAM:
        return 0; /* counted as what it does */
    default:
        break;
    }
    if (spend(&s->control, H2_SERVER_CONTROL_BURST, H2_SERVER_CONTROL_PER_SECOND, s->now))
        return 0;
    return give_up(s, H2_SERVER_E_CONTROL);
}

/* A stream error that nghttp2 found, or a stream above the limit: it is reset, and costs as much as a reset.
 */
static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error, void *user)
{
    (void)session;
    (void)frame;
    (void)error;
    return h2_server_count_reset(user);
}

static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                             nghttp2_rcbuf *value, uint8_t flags, void *user)
{
    (void)session;
    (void)frame;
    (void)name;
    (void)value;
    (void)flags;
    (void)user;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* malformed (RFC 9113 8.2.1): reset, not overlooked */
}

void h2_server_watch_limits(nghttp2_session_callbacks *cb)
{
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
    nghttp2_session_callbacks_set_on_invalid_header_callback2(cb, on_invalid_header);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
}
