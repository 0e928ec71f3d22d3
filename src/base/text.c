#include "base/base.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

bool text_copy(char *out, size_t size, struct span s)
{
    if (s.len >= size || (s.len && memchr(s.data, 0, s.len))) {
        if (size)
            out[0] = 0;
        return false;
    }
    if (s.len)
        memcpy(out, s.data, s.len);
    out[s.len] = 0;
    return true;
}

char *text_dup(struct span s)
{
    char *copy = malloc(s.len + 1);

    if (!copy)
        return NULL;
    if (s.len)
        memcpy(copy, s.data, s.len);
    copy[s.len] = 0;
    return copy;
}

bool text_equal_fold(struct span a, struct span b)
{
    return a.len == b.len && (!a.len || strncasecmp((const char *)a.data, (const char *)b.data, a.len) == 0);
}

bool text_starts_with(struct span s, const char *prefix)
{
    size_t len = strlen(prefix);

    return s.len >= len && (!len || memcmp(s.data, prefix, len) == 0);
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct span text_trim(struct span s)
{
    while (s.len && is_blank(s.data[0]))
        s = span_slice(s, 1, s.len);
    while (s.len && is_blank(s.data[s.len - 1]))
        s.len--;
    return s;
}

size_t text_distance(struct span a, struct span b)
{
    size_t row[TEXT_DISTANCE_MAX + 1];

    if (b.len > TEXT_DISTANCE_MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= b.len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t change = diagonal + (tolower(a.data[i - 1]) != tolower(b.data[j - 1]));

            diagonal = row[j];
            row[j] = MIN(change, MIN(row[j], row[j - 1]) + 1);
        }
    }
    return row[b.len];
}

void text_consider(struct text_nearest *n, const char *candidate)
{
    size_t d = text_distance(n->name, span_from_str(candidate));

    if (*candidate && d < n->distance) {
        n->found = candidate;
        n->distance = d;
    }
}

bool text_parse_u64(struct span s, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;

    if (!s.len)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t digit = (uint8_t)(s.data[i] - '0');

        if (digit > 9 || __builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, digit, &v))
            return false;
    }
    if (v > max)
        return false;
    *out = v;
    return true;
}

bool text_parse_i64(struct span s, int64_t *out)
{
    bool negative = s.len && s.data[0] == '-';
    uint64_t v;

    if (!text_parse_u64(negative ? span_slice(s, 1, s.len) : s, (uint64_t)INT64_MAX + negative, &v))
        return false;
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

void hex_encode(char *out, struct span bytes)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < bytes.len; i++) {
        *out++ = digits[bytes.data[i] >> 4];
        *out++ = digits[bytes.data[i] & 15];
    }
    *out = 0;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hex_decode(struct span text, uint8_t *out, size_t out_len)
{
    if (text.len != out_len * 2)
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (hex_digit(text.data[i]) < 0)
            return false;
    for (size_t i = 0; i < out_len; i++)
        out[i] = (uint8_t)(hex_digit(text.data[2 * i]) << 4 | hex_digit(text.data[2 * i + 1]));
    return true;
}

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(char *out, struct span bytes)
{
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t left = bytes.len - i;
        uint32_t v = (uint32_t)bytes.data[i] << 16;

        if (left > 1)
            v |= (uint32_t)bytes.data[i + 1] << 8;
        if (left > 2)
            v |= bytes.data[i + 2];
        *out++ = base64_digits[v >> 18];
        *out++ = base64_digits[v >> 12 & 63];
        *out++ = left > 1 ? base64_digits[v >> 6 & 63] : '=';
        *out++ = left > 2 ? base64_digits[v & 63] : '=';
    }
    *out = 0;
}

static int base64_digit(uint8_t c)
{
    const char *at = c ? strchr(base64_digits, c) : NULL;

    return at ? (int)(at - base64_digits) : -1;
}

bool base64_decode(struct span text, uint8_t *out, size_t size, size_t *out_len)
{
    size_t n = 0, pads = 0;

    if (text.len % 4)
        return false;
    while (pads < 2 && pads < text.len && text.data[text.len - 1 - pads] == '=')
        pads++;
    if (text.len / 4 * 3 - pads > size)
        return false;
    for (size_t i = 0; i < text.len; i += 4) {
        uint32_t v = 0;

        for (size_t k = 0; k < 4; k++) {
            bool pad = i + k >= text.len - pads;
            int digit = pad ? 0 : base64_digit(text.data[i + k]);

            if (digit < 0)
                return false;
            v = v << 6 | (uint32_t)digit;
        }
        for (size_t k = 0; k < 3 && n < text.len / 4 * 3 - pads; k++)
            out[n++] = (uint8_t)(v >> (16 - 8 * k));
    }
    *out_len = n;
    return true;
}

/* ---- times ------------------------------------------------------------------ */

static bool digits(struct reader *r, unsigned count, int *out)
{
    int v = 0;

    while (count--) {
        uint8_t c = reader_u8(r);

        if (r->failed || !isdigit(c))
            return false;
        v = v * 10 + (c - '0');
    }
    *out = v;
    return true;
}

static bool letter(struct reader *r, char want)
{
    return (reader_u8(r) | 0x20) == (want | 0x20) && !r->failed;
}

/* Up to nine digits after a point, the rest dropped; none is fine. */
static bool fraction(struct reader *r, int64_t *nanos)
{
    int64_t unit = SEC;

    *nanos = 0;
    if (!r->rest.len || r->rest.data[0] != '.')
        return true;
    reader_u8(r);
    while (r->rest.len && isdigit(r->rest.data[0])) {
        unit /= 10;
        *nanos += unit * (reader_u8(r) - '0');
    }
    return unit != SEC;
}

static bool zone(struct reader *r, int64_t *offset_s)
{
    uint8_t c = reader_u8(r);
    int hours, minutes;

    *offset_s = 0;
    if (c == 'Z' || c == 'z')
        return true;
    if (c != '+' && c != '-')
        return false;
    if (!digits(r, 2, &hours) || !letter(r, ':') || !digits(r, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    *offset_s = (hours * 60 + minutes) * 60 * (c == '-' ? -1 : 1);
    return true;
}

bool time_parse_rfc3339(struct span s, int64_t *wall_ns)
{
    struct reader r = reader_of(s);
    struct tm tm = { 0 };
    int64_t nanos, offset, seconds;

    if (!digits(&r, 4, &tm.tm_year) || !letter(&r, '-') || !digits(&r, 2, &tm.tm_mon) || !letter(&r, '-') ||
        !digits(&r, 2, &tm.tm_mday) || !letter(&r, 'T') || !digits(&r, 2, &tm.tm_hour) || !letter(&r, ':') ||
        !digits(&r, 2, &tm.tm_min) || !letter(&r, ':') || !digits(&r, 2, &tm.tm_sec))
        return false;
    if (!fraction(&r, &nanos) || !zone(&r, &offset) || r.failed || r.rest.len)
        return false;
    if (tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 ||
        tm.tm_min > 59 || tm.tm_sec > 60)
        return false;
    if (tm.tm_year == 1) {
        *wall_ns = 0;
        return true;
    }
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    seconds = timegm(&tm) - offset;
    if (__builtin_mul_overflow(seconds, SEC, wall_ns) || __builtin_add_overflow(*wall_ns, nanos, wall_ns))
        return false; /* before 1678 or after 2262 */
    return true;
}

const char *time_text_rfc3339(int64_t wall_ns, char out[TIME_TEXT_BYTES])
{
    time_t seconds = (time_t)(wall_ns / SEC);
    long nanos = (long)(wall_ns % SEC);
    struct tm utc;
    size_t n;

    if (wall_ns == 0)
        return strcpy(out, "0001-01-01T00:00:00Z");
    if (nanos < 0) {
        nanos += (long)SEC;
        seconds--;
    }
    gmtime_r(&seconds, &utc);
    n = strftime(out, TIME_TEXT_BYTES, "%Y-%m-%dT%H:%M:%S", &utc);
    if (nanos)
        snprintf(out + n, TIME_TEXT_BYTES - n, ".%09ldZ", nanos);
    else
        snprintf(out + n, TIME_TEXT_BYTES - n, "Z");
    return out;
}

/* ---- durations ---------------------------------------------------------------- */

static const struct {
    const char *name;
    time_ns unit;
} duration_units[] = {
    { "ns", NSEC }, { "us", USEC }, { "\xc2\xb5s", USEC }, { "\xce\xbcs", USEC },
    { "ms", MSEC }, { "s", SEC },   { "m", MINUTE },       { "h", HOUR },
};

/* The longest unit that s begins with; its length, or 0. */
static size_t duration_unit(struct span s, time_ns *unit)
{
    size_t best = 0;

    for (size_t i = 0; i < COUNT_OF(duration_units); i++) {
        size_t len = strlen(duration_units[i].name);

        if (len > best && text_starts_with(s, duration_units[i].name)) {
            best = len;
            *unit = duration_units[i].unit;
        }
    }
    return best;
}

/* One number with its unit at the front of *s, added to *sum. */
static bool duration_part(struct span *s, double *sum)
{
    char number[32];
    size_t n = 0, unit_len;
    time_ns unit = 0;
    char *end;
    double value;

    while (n < s->len && (isdigit(s->data[n]) || s->data[n] == '.'))
        n++;
    if (!n || !text_copy(number, sizeof(number), span_slice(*s, 0, n)))
        return false;
    value = strtod(number, &end);
    if (*end || end == number)
        return false;
    unit_len = duration_unit(span_slice(*s, n, s->len), &unit);
    if (!unit_len)
        return false;
    *sum += value * (double)unit;
    *s = span_slice(*s, n + unit_len, s->len);
    return true;
}

bool duration_parse(struct span s, time_ns *out)
{
    bool negative = s.len && s.data[0] == '-';
    double sum = 0;

    if (s.len && (s.data[0] == '-' || s.data[0] == '+'))
        s = span_slice(s, 1, s.len);
    if (span_equal_str(s, "0")) {
        *out = 0;
        return true;
    }
    if (!s.len)
        return false;
    while (s.len)
        if (!duration_part(&s, &sum))
            return false;
    if (sum >= (double)INT64_MAX)
        return false;
    *out = negative ? -(time_ns)sum : (time_ns)sum;
    return true;
}

const char *duration_text(time_ns d, char out[DURATION_TEXT_BYTES])
{
    if (d >= HOUR)
        snprintf(out, DURATION_TEXT_BYTES, "%lldh%lldm", (long long)(d / HOUR),
                 (long long)(d % HOUR / MINUTE));
    else if (d >= MINUTE)
        snprintf(out, DURATION_TEXT_BYTES, "%lldm%llds", (long long)(d / MINUTE),
                 (long long)(d % MINUTE / SEC));
    else if (d >= SEC)
        snprintf(out, DURATION_TEXT_BYTES, "%.3gs", (double)d / (double)SEC);
    else if (d >= MSEC)
        snprintf(out, DURATION_TEXT_BYTES, "%.3gms", (double)d / (double)MSEC);
    else
        snprintf(out, DURATION_TEXT_BYTES, "%lldns", (long long)d);
    return out;
}
