/* daemon/memory.c - how the process takes memory from the system, and gives it back */
#include "daemon/internal.h"

#include <link.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

/* The stack's large buffers (64 KiB) and whatever is larger come from the system one by one and go back the
 * moment they are free. Out of an arena they would stay: the last small object behind them holds them. */
#define MEMORY_ALONE_BYTES (60 << 10)

void memory_configure(size_t threads)
{
    mallopt(M_ARENA_MAX, (int)threads);
    mallopt(M_MMAP_THRESHOLD, MEMORY_ALONE_BYTES);
}

/* Drops the pages of one program file that are only code and constants. They are the file's: whichever is
 * needed again comes back from the page cache. Writable segments hold our own changes and are not touched. */
static int drop_code(struct dl_phdr_info *info, size_t size, void *ctx)
{
    uintptr_t page = *(const uintptr_t *)ctx;

    (void)size;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + segment->p_vaddr, end = start + segment->p_memsz;

        start = (start + page - 1) & ~(page - 1);
        end &= ~(page - 1);
        if (segment->p_type == PT_LOAD && !(segment->p_flags & PF_W) && start < end)
            madvise((void *)start, end - start, MADV_DONTNEED);
    }
    return 0;
}

void memory_settle(void)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

    malloc_trim(0);
    dl_iterate_phdr(drop_code, &page);
}

void memory_read(struct memory_figures *out)
{
    struct mallinfo2 heap = mallinfo2(); /* of all arenas */
    unsigned long long size, resident;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    FILE *f = fopen("/proc/self/statm", "re");

    *out = (struct memory_figures) { .heap_used = heap.uordblks + heap.hblkhd, .heap_free = heap.fordblks };
    if (f && fscanf(f, "%llu %llu", &size, &resident) == 2) {
        out->virtual = size * page;
        out->resident = resident * page;
    }
    if (f)
        fclose(f);
}
