/* Small random values, fetched from the kernel by the hundred
 *
 * A nonce, a transaction id, a jitter: some bytes each, and a system call each was a tenth of what an idle
 * process did. So a thread fetches a supply at a time. What leaves it is wiped from it; a child process
 * starts without one, or it would repeat its parent's values. Secrets do not come from here.
 */
#include <pthread.h>
#include <sodium.h>

#include "crypto/internal.h"

#define SUPPLY_BYTES 512
#define SMALL_BYTES 64 /* more at once comes straight from the kernel */

static _Thread_local struct {
    uint8_t bytes[SUPPLY_BYTES];
    size_t left; /* the first so many are fresh */
} supply;

void random_thread_end(void)
{
    wipe(&supply, sizeof(supply));
}

static void watch_forks(void)
{
    must(pthread_atfork(NULL, NULL, random_thread_end) == 0);
}

void random_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    must(pthread_once(&once, watch_forks) == 0);
}

void random_bytes(void *out, size_t len)
{
    if (len > SMALL_BYTES) {
        randombytes_buf(out, len);
        return;
    }
    if (supply.left < len) {
        randombytes_buf(supply.bytes, sizeof(supply.bytes));
        supply.left = sizeof(supply.bytes);
    }
    supply.left -= len;
    memcpy(out, supply.bytes + supply.left, len);
    wipe(supply.bytes + supply.left, len);
}

void random_bytes_fresh(void *out, size_t len)
{
    randombytes_buf(out, len);
}
