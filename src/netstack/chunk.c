/* Buffers: chunks of three sizes, shared by all connections of the stack and charged at their true size. */
#include "netstack/internal.h"

#include <stdlib.h>

static const uint32_t class_bytes[CHUNK_CLASSES] = { 2048, 16384, 65536 };

/* Bytes are put in place only where there are many, so that a slow stream takes no large chunk; what is left
 * of a chunk is not worth a read of its own below a quarter of the smallest read. */
#define CHUNK_BYTES_MAX (65536 - sizeof(struct chunk))
#define ROOM_QUEUED_BYTES 32768u
#define ROOM_BYTES_MIN 8192u

/* Free objects are kept until netstack_trim: of each size as many as are in use, or up to KEPT_BYTES. A bulk
 * transfer breathes by whole windows: one acknowledgement frees megabytes that the next write takes again,
 * and whatever went back to the system meanwhile costs a page fault for each 4 KiB. So of the large ones a
 * megabyte stays, in use or free. A whole window would save more of these, but each shard would hold it for
 * as long as anybody is active. */
#define KEPT_BYTES (512u << 10)
#define LARGE_BYTES (1u << 20)

void *cache_alloc(struct object_cache *c)
{
    void *object = c->free;

    if (object) {
        memcpy(&c->free, object, sizeof(c->free));
        c->kept--;
    } else {
        object = malloc(c->bytes);
    }
    if (object)
        c->used++;
    return object;
}

static void drop_one(struct object_cache *c)
{
    void *object = c->free;

    memcpy(&c->free, object, sizeof(c->free));
    c->kept--;
    free(object);
}

static size_t may_keep(const struct object_cache *c)
{
    size_t used = c->used * c->bytes, keep = MAX(used, (size_t)KEPT_BYTES);

    if (c->bytes == class_bytes[CHUNK_LARGE] && used < LARGE_BYTES)
        keep = MAX(keep, LARGE_BYTES - used);
    return keep;
}

void cache_release(struct object_cache *c, void *object)
{
    c->used--;
    memcpy(object, &c->free, sizeof(c->free));
    c->free = object;
    c->kept++;
    while (c->kept * c->bytes > may_keep(c))
        drop_one(c);
}

void cache_trim(struct object_cache *c)
{
    while (c->free)
        drop_one(c);
}

uint32_t chunk_memory(const struct chunk *c)
{
    return class_bytes[c->class];
}

struct chunk *chunk_alloc(struct netstack *ns, size_t want)
{
    enum chunk_class class = CHUNK_SMALL;
    struct chunk *c;

    while (class < CHUNK_LARGE && want > class_bytes[class] - sizeof(*c))
        class ++;
    if (ns->chunk_bytes + class_bytes[class] > ns->config.limits.buffer_bytes)
        return NULL;
    ns->chunk_cache[class].bytes = class_bytes[class];
    c = cache_alloc(&ns->chunk_cache[class]);
    if (!c)
        return NULL;
    *c = (struct chunk) { .class = class, .room = class_bytes[class] - (uint32_t)sizeof(*c) };
    ns->chunk_bytes += class_bytes[class];
    return c;
}

void chunk_release(struct netstack *ns, struct chunk *c)
{
    ns->chunk_bytes -= class_bytes[c->class];
    cache_release(&ns->chunk_cache[c->class], c);
}

void chunk_queue_push(struct chunk_queue *q, struct chunk *c)
{
    *(q->tail ? &q->tail->next : &q->head) = c;
    q->tail = c;
    q->bytes += c->end - c->start;
    q->memory += chunk_memory(c);
}

void chunk_queue_consume(struct netstack *ns, struct chunk_queue *q, uint32_t len)
{
    q->bytes -= len;
    while (len || (q->head && !q->bytes)) { /* the last one may be empty: chunk_queue_room */
        struct chunk *c = q->head;
        uint32_t part = MIN(len, c->end - c->start);

        c->start += part;
        len -= part;
        if (c->start < c->end)
            break;
        q->head = c->next;
        if (!q->head)
            q->tail = NULL;
        q->memory -= chunk_memory(c);
        chunk_release(ns, c);
    }
}

static uint32_t fill(struct chunk *c, struct span bytes)
{
    uint32_t part = (uint32_t)MIN(bytes.len, c->room - c->end);

    if (part && bytes.data != c->data + c->end) /* else chunk_queue_room had them put there */
        memcpy(c->data + c->end, bytes.data, part);
    c->end += part;
    return part;
}

/* Small for the first bytes, larger as the queue grows: little traffic takes little memory. */
uint32_t chunk_queue_append(struct netstack *ns, struct chunk_queue *q, struct span bytes)
{
    uint32_t done = 0;

    if (q->tail) {
        done = fill(q->tail, bytes);
        q->bytes += done;
        q->next_seq += done;
    }
    while (done < bytes.len) {
        struct span rest = span_slice(bytes, done, bytes.len - done);
        struct chunk *c = chunk_alloc(ns, MAX(rest.len, q->bytes / 2));
        uint32_t part;

        if (!c)
            c = chunk_alloc(ns, 1);
        if (!c)
            break;
        c->base = q->next_seq;
        part = fill(c, rest);
        q->next_seq += part;
        done += part;
        chunk_queue_push(q, c);
    }
    return done;
}

struct mspan chunk_queue_room(struct netstack *ns, struct chunk_queue *q)
{
    struct chunk *c = q->tail;

    if (q->bytes < ROOM_QUEUED_BYTES)
        return (struct mspan) { 0 };
    if (c->room - c->end < ROOM_BYTES_MIN) {
        c = chunk_alloc(ns, CHUNK_BYTES_MAX);
        if (!c)
            return (struct mspan) { 0 };
        c->base = q->next_seq;
        chunk_queue_push(q, c);
    }
    return (struct mspan) { c->data + c->end, c->room - c->end };
}

void chunk_queue_splice(struct netstack *ns, struct chunk_queue *to, struct chunk_queue *from)
{
    struct chunk *next;

    for (struct chunk *c = from->head; c; c = next) {
        struct chunk *last = to->tail;
        uint32_t len = c->end - c->start;

        next = c->next;
        c->next = NULL;
        if (last && len <= last->room - last->end) {
            to->bytes += fill(last, span_make(c->data + c->start, len));
            chunk_release(ns, c);
        } else {
            chunk_queue_push(to, c);
        }
    }
    *from = (struct chunk_queue) { 0 };
}

void chunk_queue_clear(struct netstack *ns, struct chunk_queue *q)
{
    struct chunk *next;

    for (struct chunk *c = q->head; c; c = next) {
        next = c->next;
        chunk_release(ns, c);
    }
    *q = (struct chunk_queue) { 0 };
}
