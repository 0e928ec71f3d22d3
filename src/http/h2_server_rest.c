/* A session without streams and without HPACK tables is little more than the client's SETTINGS, two windows
 * and the last stream's number. To make it anew, a session is fed what the client would have said to get
 * there, and its own words are dropped: the client heard them long ago. */
#include "http/h2_server_internal.h"

#define DEFAULT_ROOM 65535 /* RFC 9113 6.9.2 */

void h2_server_count_frames(struct h2_boundary *b, struct span bytes)
{
    while (bytes.len) {
        size_t n = MIN(bytes.len, (size_t)b->left);

        b->left -= (uint32_t)n;
        bytes = span_slice(bytes, n, bytes.len);
        if (!bytes.len)
            return;
        b->head[b->head_len++] = bytes.data[0];
        bytes = span_slice(bytes, 1, bytes.len);
        if (b->head_len < sizeof(b->head))
            continue;
        b->head_len = 0;
        b->left = load_be32(b->head) >> 8;
        b->in_block = (b->head[3] == NGHTTP2_HEADERS || b->head[3] == NGHTTP2_CONTINUATION) &&
                      !(b->head[4] & NGHTTP2_FLAG_END_HEADERS);
    }
}

static bool may_rest(const struct h2_server *s)
{
    return s->session && !h2_server_broken(s) && !s->depth && !s->running && s->greeted && s->last_id &&
           !s->closing && !s->notice_sent && !s->boundary.left && !s->boundary.head_len &&
           !s->boundary.in_block && !nghttp2_session_get_hd_inflate_dynamic_table_size(s->session);
}

bool h2_server_rest(struct h2_server *s)
{
    int32_t room, owed;

    if (!may_rest(s))
        return false;
    room = nghttp2_session_get_remote_window_size(s->session);
    if (room < DEFAULT_ROOM) /* nothing that a client can say leads there */
        return false;
    owed = nghttp2_session_get_effective_recv_data_length(s->session);
    if (owed > 0)
        (void)nghttp2_submit_window_update(s->session, NGHTTP2_FLAG_NONE, 0, owed);
    h2_server_pump(s);
    if (h2_server_broken(s))
        return false;
    s->resting = (struct h2_resting) {
        .table_bytes = nghttp2_session_get_remote_settings(s->session, NGHTTP2_SETTINGS_HEADER_TABLE_SIZE),
        .window_bytes = nghttp2_session_get_remote_settings(s->session, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE),
        .frame_bytes = nghttp2_session_get_remote_settings(s->session, NGHTTP2_SETTINGS_MAX_FRAME_SIZE),
        .list_bytes = nghttp2_session_get_remote_settings(s->session, NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE),
        .room = room,
    };
    nghttp2_session_del(s->session);
    s->session = NULL;
    return true;
}

static void put_frame(struct writer *w, uint32_t len, uint8_t type, uint8_t flags, uint32_t stream)
{
    writer_u8(w, (uint8_t)(len >> 16));
    writer_be16(w, (uint16_t)len);
    writer_u8(w, type);
    writer_u8(w, flags);
    writer_be32(w, stream);
}

static void put_setting(struct writer *w, uint16_t id, uint32_t value)
{
    writer_be16(w, id);
    writer_be32(w, value);
}

/* What the client said, in short. Its last request, which was over long ago, stands for all: it gives the
 * session its number, and says that the HPACK table is empty. */
static size_t tell_story(const struct h2_server *s, uint8_t *out, size_t size)
{
    /* size update to 0; GET, https, /, :authority x (RFC 7541, appendix A) */
    static const uint8_t request[] = { 0x20, 0x82, 0x87, 0x84, 0x01, 0x01, 'x' };
    const struct h2_resting *r = &s->resting;
    struct writer w = writer_of(out, size);

    writer_bytes(&w, span_from_str(NGHTTP2_CLIENT_MAGIC));
    put_frame(&w, 24, NGHTTP2_SETTINGS, 0, 0);
    put_setting(&w, NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, r->table_bytes);
    put_setting(&w, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, r->window_bytes);
    put_setting(&w, NGHTTP2_SETTINGS_MAX_FRAME_SIZE, r->frame_bytes);
    put_setting(&w, NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, r->list_bytes);
    put_frame(&w, 0, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0);
    if (r->room > DEFAULT_ROOM) {
        put_frame(&w, 4, NGHTTP2_WINDOW_UPDATE, 0, 0);
        writer_be32(&w, (uint32_t)(r->room - DEFAULT_ROOM));
    }
    put_frame(&w, sizeof(request), NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM | NGHTTP2_FLAG_END_HEADERS,
              s->last_id);
    writer_bytes(&w, SPAN_OF(request));
    must(!w.failed);
    return w.at;
}

/* False: no memory. */
bool h2_server_wake(struct h2_server *s)
{
    uint8_t story[128];
    size_t len;
    ssize_t n = -1;

    if (s->session)
        return true;
    len = tell_story(s, story, sizeof(story));
    s->muted = true;
    if (!h2_server_open(s)) {
        s->depth++;
        n = nghttp2_session_mem_recv(s->session, story, len);
        s->depth--;
        (void)nghttp2_submit_rst_stream(s->session, NGHTTP2_FLAG_NONE, (int32_t)s->last_id, NGHTTP2_NO_ERROR);
        h2_server_pump(s);
    }
    s->muted = false;
    s->out_of_memory |= n < 0;
    return !h2_server_broken(s);
}
