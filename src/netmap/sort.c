#include "netmap/view.h"

#include <errno.h>
#include <stdlib.h>

/* Merges the sorted runs [0, left) and [left, count) of `from` into `to`. */
static void merge(uint8_t *to, const uint8_t *from, size_t left, size_t count, size_t size,
                  view_compare_fn *compare, const void *ctx)
{
    size_t a = 0, b = left;

    while (a < left || b < count) {
        bool take_left = b == count || (a < left && compare(ctx, from + a * size, from + b * size) <= 0);
        size_t at = take_left ? a++ : b++;

        memcpy(to, from + at * size, size);
        to += size;
    }
}

static bool in_order(const uint8_t *items, size_t count, size_t size, view_compare_fn *compare,
                     const void *ctx)
{
    for (size_t i = 1; i < count; i++)
        if (compare(ctx, items + (i - 1) * size, items + i * size) > 0)
            return false;
    return true;
}

int view_sort(void *items, size_t count, size_t size, view_compare_fn *compare, const void *ctx)
{
    uint8_t *from = items, *to, *spare;

    if (in_order(items, count, size, compare, ctx)) /* as servers send them */
        return 0;
    spare = to = malloc(count * size);
    if (!spare)
        return err_trace(-ENOMEM);
    for (size_t run = 1; run < count; run *= 2) {
        uint8_t *swap = from;

        for (size_t at = 0; at < count; at += 2 * run)
            merge(to + at * size, from + at * size, MIN(run, count - at), MIN(2 * run, count - at), size,
                  compare, ctx);
        from = to;
        to = swap;
    }
    if (from != items)
        memcpy(items, from, count * size);
    free(spare);
    return 0;
}
