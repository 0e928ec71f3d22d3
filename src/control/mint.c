#include "control/mint.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

#define REQUEST_BYTES_MAX (32u << 10) /* a hundred tags of 250 bytes, and the rest */
#define MESSAGE_BYTES_MAX 120         /* of what the service says, shown */
#define TAGS_SHOWN 3

/* ---- requests ------------------------------------------------------------------------------ */

static int begin(struct mint_request *out, const char *target)
{
    struct mspan all;
    int r;

    *out = (struct mint_request) { .target = target };
    buf_init(&out->headers, MINT_TOKEN_BYTES_MAX + 512);
    buf_init(&out->body, REQUEST_BYTES_MAX);
    /* All room at once: growing would leave copies of secrets behind. */
    r = buf_reserve(&out->headers, out->headers.max, &all);
    return r ? r : buf_reserve(&out->body, out->body.max, &all);
}

void mint_request_deinit(struct mint_request *r)
{
    struct buf *const all[] = { &r->headers, &r->body };

    for (size_t i = 0; i < COUNT_OF(all); i++) {
        wipe(all[i]->data, all[i]->cap);
        buf_deinit(all[i]);
    }
}

/* `token` NULL: the request has no credential in its head. */
static int put_headers(struct mint_request *r, const char *type, const char *token)
{
    int status = buf_printf(&r->headers,
                            "User-Agent: manytails/" MANYTAILS_VERSION "\r\nAccept: application/json\r\n"
                            "Content-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n",
                            type, r->body.len);

    if (!status && token)
        status = buf_printf(&r->headers, "Authorization: Bearer %s\r\n", token);
    return status ? status : buf_append(&r->headers, span_make("", 1));
}

/* A value of a form: what is neither letter, digit nor one of -._~ becomes %XX. */
static int put_form(struct buf *out, struct span value)
{
    int r = 0;

    for (size_t i = 0; i < value.len && !r; i++) {
        if (isalnum(value.data[i]) || memchr("-._~", value.data[i], 4))
            r = buf_append(out, span_slice(value, i, 1));
        else
            r = buf_printf(out, "%%%02X", value.data[i]);
    }
    return r;
}

int mint_token_request(struct mint_request *out, struct span secret)
{
    int r = begin(out, MINT_TOKEN_TARGET);

    /* The service finds the client by its secret; what stands here as its id is the reference's. */
    if (!r)
        r = buf_append_str(&out->body,
                           "grant_type=client_credentials&client_id=some-client-id&client_secret=");
    if (!r)
        r = put_form(&out->body, secret);
    if (!r)
        r = put_headers(out, "application/x-www-form-urlencoded", NULL);
    return r ? err_trace(r) : 0;
}

int mint_key_request(struct mint_request *out, const char *token, const struct mint_wish *wish)
{
    int r = begin(out, MINT_KEY_TARGET);
    struct json_writer w = json_writer_of(&out->body);

    if (r)
        return err_trace(r);
    json_object_begin(&w, NULL);
    json_object_begin(&w, "capabilities");
    json_object_begin(&w, "devices");
    json_object_begin(&w, "create");
    json_put_bool(&w, "reusable", false);
    json_put_bool(&w, "ephemeral", wish->ephemeral);
    json_put_bool(&w, "preauthorized", wish->preauthorized);
    json_array_begin(&w, "tags");
    for (size_t i = 0; i < wish->tag_count; i++)
        json_put_str(&w, NULL, wish->tags[i]);
    json_array_end(&w);
    json_object_end(&w);
    json_object_end(&w);
    json_object_end(&w);
    json_object_end(&w);
    r = json_writer_done(&w);
    if (!r)
        r = put_headers(out, "application/json", token);
    return r ? err_trace(r) : 0;
}

/* ---- answers --------------------------------------------------------------------------------- */

/* The value of a string member, as it stands between its quotes; empty if there is none. */
static struct span string_of(struct span body, const char *name)
{
    struct span value = json_text_member(body, name);

    if (json_text_kind(value) != JSON_KIND_STRING || value.len < 2)
        return SPAN_NONE;
    return span_slice(value, 1, value.len - 2);
}

/* A token or key goes into a header line or a request of ours: printable, no blanks, no escapes. */
static bool take_secret(struct span body, const char *name, char *out, size_t size)
{
    struct span value = string_of(body, name);

    if (!value.len || value.len >= size)
        return false;
    for (size_t i = 0; i < value.len; i++)
        if (value.data[i] <= ' ' || value.data[i] >= 0x7f || value.data[i] == '\\')
            return false;
    return text_copy(out, size, value);
}

/* What the service says is wrong, on one line. Errors of OAuth have error and error_description, those of the
 * keys call a message; anything else is shown as it is. */
static void put_message(struct buf *why, struct span body)
{
    static const char *const names[] = { "error_description", "message", "error" };
    struct span text = SPAN_NONE;
    char shown[MESSAGE_BYTES_MAX + 1];
    size_t n = 0;

    for (size_t i = 0; i < COUNT_OF(names) && !text.len; i++)
        text = string_of(body, names[i]);
    if (!text.len && body.len && body.data[0] != '{' && body.data[0] != '<')
        text = body;
    text = text_trim(text);
    for (size_t i = 0; i < text.len && n < MESSAGE_BYTES_MAX; i++) {
        if (text.data[i] == '\\' && i + 1 < text.len && memchr("\"\\/", text.data[i + 1], 3))
            i++;
        shown[n++] = (char)(text.data[i] < ' ' || text.data[i] == 0x7f ? ' ' : text.data[i]);
    }
    if (n && (buf_append_str(why, ": ") || buf_append(why, span_make(shown, n))))
        return; /* what fits is what is shown */
}

/* "tag:a, tag:b and 3 more" */
static void put_tags(struct buf *why, const struct mint_wish *wish)
{
    int r = 0;

    for (size_t i = 0; i < MIN(wish->tag_count, (size_t)TAGS_SHOWN) && !r; i++)
        r = buf_printf(why, "%s%.60s", i ? ", " : "", wish->tags[i]);
    if (!r && wish->tag_count > TAGS_SHOWN)
        r = buf_printf(why, " and %zu more", wish->tag_count - TAGS_SHOWN);
    if (r)
        return;
}

static void finish(struct buf *why, char out[MINT_WHY_BYTES])
{
    (void)text_copy(out, MINT_WHY_BYTES, span_slice(buf_span(why), 0, MINT_WHY_BYTES - 1));
    buf_deinit(why);
}

/* What both calls answer alike when they fail; `refused` and `tags` begin the sentence of a refusal. */
static int failed(int status, struct span body, const char *refused, const struct mint_wish *wish,
                  char out[MINT_WHY_BYTES])
{
    struct buf why;
    int outcome = MINT_E_REFUSED, r = 0;

    buf_init(&why, 4 * MINT_WHY_BYTES);
    if (status == 429) {
        outcome = MINT_E_WAIT;
        r = buf_append_str(&why, "it asks to wait (429)");
    } else if (status == 200 || status == 201) {
        outcome = MINT_E_LATER;
        r = buf_append_str(&why, "its answer makes no sense");
    } else if (status == 404 || status == 405 || (status >= 300 && status < 400)) {
        r = buf_printf(&why, "there is no such service there (status %d): is the base URL right?", status);
    } else if (status >= 400 && status < 500) {
        r = buf_append_str(&why, refused);
        if (wish)
            put_tags(&why, wish);
        put_message(&why, body);
    } else {
        outcome = MINT_E_LATER;
        r = buf_printf(&why, "it answered with status %d", status);
        put_message(&why, body);
    }
    if (r)
        outcome = MINT_E_LATER; /* out of memory: then without words */
    finish(&why, out);
    return outcome;
}

int mint_token_answer(int status, struct span body, struct mint_token *out, char why[MINT_WHY_BYTES])
{
    struct span life = json_text_member(body, "expires_in");
    time_ns seconds = MINT_TOKEN_LIFE / SEC;
    uint64_t said;

    if (status != 200 || !take_secret(body, "access_token", out->text, sizeof(out->text)))
        return failed(status, body, "the OAuth client secret was refused", NULL, why);
    if (text_parse_u64(life, UINT32_MAX, &said) && said)
        seconds = (time_ns)MIN(said, (uint64_t)(MINT_TOKEN_LIFE_MAX / SEC));
    out->life = MAX(seconds * SEC - MINT_TOKEN_MARGIN, MINT_TOKEN_MARGIN);
    return 0;
}

int mint_key_answer(int status, struct span body, const struct mint_wish *wish,
                    char key[CONTROL_AUTH_KEY_BYTES_MAX + 1], char why[MINT_WHY_BYTES])
{
    if ((status == 200 || status == 201) && take_secret(body, "key", key, CONTROL_AUTH_KEY_BYTES_MAX + 1))
        return 0;
    if (status == 401) {
        (void)failed(status, body, "the access token was refused", NULL, why);
        return MINT_E_TOKEN;
    }
    return failed(status, body, "the OAuth client may not create keys for ", wish, why);
}
