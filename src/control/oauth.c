/* OAuth client secrets as they are given: "tskey-client-...?ephemeral=false&baseURL=https://..." */
#include "control/control.h"
#include "control/url.h"

#include <stdio.h>

#define SECRET_BYTES_MAX 512 /* real ones have about 80 */

/* The words that the reference takes for a boolean. */
static bool parse_bool(const char *text, bool *out)
{
    static const char *const words[2][6] = { { "0", "f", "F", "false", "False", "FALSE" },
                                             { "1", "t", "T", "true", "True", "TRUE" } };

    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < COUNT_OF(words[i]); k++)
            if (strcmp(text, words[i][k]) == 0) {
                *out = i;
                return true;
            }
    return false;
}

/* A value of a query: %XX and + undone. */
static bool unescape(struct span in, char *out, size_t size)
{
    size_t n = 0;

    for (size_t i = 0; i < in.len; i++) {
        uint8_t c = in.data[i];

        if (c == '%') {
            if (i + 2 >= in.len || !hex_decode(span_slice(in, i + 1, 2), &c, 1))
                return false;
            i += 2;
        } else if (c == '+') {
            c = ' ';
        }
        if (!c || n + 1 >= size)
            return false;
        out[n++] = (char)c;
    }
    out[n] = 0;
    return true;
}

static const char *take_base(const char *value, struct control_oauth *out)
{
    struct control_url url;
    const char *wrong = control_url_parse(span_from_str(value), &url);

    if (!wrong)
        snprintf(out->base, sizeof(out->base), "%s", url.text);
    return wrong;
}

/* One name=value. Names and values stand in no sentence: a secret with a "?" in it would be told. */
static const char *take(struct span part, struct control_oauth *out)
{
    const uint8_t *equals = part.len ? memchr(part.data, '=', part.len) : NULL;
    size_t n = equals ? (size_t)(equals - part.data) : part.len;
    struct span name = span_slice(part, 0, n);
    char value[URL_TEXT_BYTES];

    if (!unescape(span_slice(part, n + 1, part.len), value, sizeof(value)))
        return "its value is too long, or has a % that is no %XX";
    if (span_equal_str(name, "baseURL"))
        return *value ? take_base(value, out) : NULL;
    if (!span_equal_str(name, "ephemeral") && !span_equal_str(name, "preauthorized"))
        return "it is none of ephemeral, preauthorized, baseURL";
    if (!*value)
        return NULL; /* the default, as with the reference */
    if (span_equal_str(name, "preauthorized"))
        return parse_bool(value, &out->preauthorized) ? NULL : "preauthorized is true or false";
    out->ephemeral_said = true;
    return parse_bool(value, &out->ephemeral) ? NULL : "ephemeral is true or false";
}

bool control_oauth_is(const char *auth_key)
{
    struct span s = span_from_str(auth_key);

    return text_starts_with(s, "tskey-client-") || text_starts_with(s, "hskey-client-");
}

const char *control_oauth_parse(const char *text, struct control_oauth *out, unsigned *parameter)
{
    struct span s = span_from_str(text), rest;
    const uint8_t *mark = s.len ? memchr(s.data, '?', s.len) : NULL;

    *out = (struct control_oauth) { .secret_len = mark ? (size_t)(mark - s.data) : s.len };
    *parameter = 0;
    if (!control_oauth_is(text) || out->secret_len <= strlen("tskey-client-"))
        return "it is no OAuth client secret";
    for (size_t i = 0; i < out->secret_len; i++)
        if (text[i] <= ' ' || text[i] >= 0x7f)
            return "the secret has a character that secrets do not have";
    if (out->secret_len > SECRET_BYTES_MAX)
        return "the secret is too long";
    rest = span_slice(s, out->secret_len + 1, s.len);
    while (rest.len) {
        const uint8_t *end = memchr(rest.data, '&', rest.len);
        size_t n = end ? (size_t)(end - rest.data) : rest.len;
        const char *wrong;

        ++*parameter;
        wrong = n ? take(span_slice(rest, 0, n), out) : NULL;
        if (wrong)
            return wrong;
        rest = span_slice(rest, n + 1, rest.len);
    }
    return NULL;
}

void control_oauth_base(const char *text, const struct control_oauth *parts, const char *control_url,
                        char out[CONTROL_URL_BYTES])
{
    bool hosted = text_starts_with(span_from_str(text), "tskey-");

    snprintf(out, CONTROL_URL_BYTES, "%s",
             parts->base[0] ? parts->base
             : hosted       ? CONTROL_OAUTH_HOSTED
                            : control_url);
}
