#include "http/h2_memory.h"

#include <stdlib.h>

#include "metrics/metrics.h"

#define FRAME_BLOCK_BYTES_MIN (16u << 10)

static void *counted(struct h2_lender *l, void *block)
{
    l->held += account_block(block);
    return block;
}

static void *take_block(size_t size, void *user)
{
    struct h2_lender *l = user;

    if (!l->lending || size < FRAME_BLOCK_BYTES_MIN || size > H2_SCRATCH_BYTES)
        return counted(l, malloc(size));
    l->lending = false;
    return l->scratch;
}

static void free_block(void *p, void *user)
{
    struct h2_lender *l = user;

    if (p == l->scratch)
        return;
    l->held -= account_block(p);
    free(p);
}

static void *take_zeroed(size_t count, size_t size, void *user)
{
    return counted(user, calloc(count, size));
}

static void *resize_block(void *p, size_t size, void *user)
{
    struct h2_lender *l = user;
    size_t before;
    void *larger;

    if (!p)
        return take_block(size, user);
    if (p != l->scratch) {
        before = account_block(p);
        larger = realloc(p, size);
        if (larger)
            l->held -= before;
        return counted(l, larger);
    }
    larger = counted(l, malloc(size));
    if (larger)
        memcpy(larger, p, MIN(size, (size_t)H2_SCRATCH_BYTES));
    return larger;
}

nghttp2_mem h2_lender_mem(struct h2_lender *l)
{
    return (nghttp2_mem) { l, take_block, free_block, take_zeroed, resize_block };
}

const char *h2_code_text(uint32_t code)
{
    return nghttp2_http2_strerror(code);
}
