/* URLs of destinations, request paths and prefixes: what comes out is a path that means the same.
 * Input: destination, LF, prefix, LF, request path. */
#include <stdlib.h>

#include "proxy/path.h"
#include "proxy/url.h"

static char *piece(struct span *in)
{
    const uint8_t *lf = in->len ? memchr(in->data, '\n', in->len) : NULL;
    size_t n = lf ? (size_t)(lf - in->data) : in->len;
    char *text = malloc(n + 1);

    if (!text)
        abort();
    if (n)
        memcpy(text, in->data, n);
    text[n] = '\0';
    *in = span_slice(*in, n + (lf ? 1 : 0), in->len);
    return text;
}

static void check_written(struct span s)
{
    must(path_escapes_valid(s));
    for (size_t i = 0; i < s.len; i++)
        must(s.data[i] > ' ' && s.data[i] < 0x7f);
}

static void check_cleaning(struct span raw)
{
    struct buf b;

    buf_init(&b, 1 << 20);
    if (path_append_cleaned(raw, &b))
        abort();
    check_written(buf_span(&b));
    must(path_is_clean(buf_span(&b)));
    if (path_is_clean(raw)) { /* then it decodes to the same */
        struct span clean = buf_span(&b);
        size_t i = 0, k = 0;
        uint8_t a, c;

        while (path_next(raw, &i, &a))
            must(path_next(clean, &k, &c) && a == c);
        must(!path_next(clean, &k, &c));
    }
    buf_deinit(&b);
}

static void check_joining(const struct destination *d, struct span raw, struct span prefix)
{
    struct span rest = raw;
    struct buf b;
    size_t matched;

    if (path_match_prefix(raw, prefix, &matched) != PREFIX_NO) {
        must(matched <= raw.len && matched >= prefix.len);
        rest = span_slice(raw, matched, raw.len);
        must(path_escapes_valid(rest)); /* never cuts an escape */
    }
    buf_init(&b, 1 << 20);
    if (path_append_joined(span_from_str(d->path), rest, &b))
        abort();
    must(b.len && buf_span(&b).data[0] == '/');
    must(b.len <= strlen(d->path) + 3 * rest.len + 1);
    check_written(buf_span(&b));
    buf_deinit(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct span in = span_make(data, len);
    struct destination d;
    char why[200], *url, *prefix, *path;

    if (len > 4096)
        return 0;
    url = piece(&in);
    prefix = piece(&in);
    path = piece(&in);
    if (destination_parse(&d, url, NULL, NULL, why, sizeof(why))) {
        must(d.host && d.authority && d.dial_host && d.port);
        check_written(span_from_str(d.path));
        check_written(span_from_str(d.authority));
        if (path_escapes_valid(span_from_str(path))) {
            check_cleaning(span_from_str(path));
            check_joining(&d, span_from_str(path), span_from_str(prefix));
        }
    } else {
        must(*why);
    }
    destination_free(&d);
    free(url);
    free(prefix);
    free(path);
    return 0;
}
