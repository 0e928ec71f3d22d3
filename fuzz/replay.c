/* fuzz/replay.c - runs a fuzz target over the files of its corpus, without a fuzzer */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define INPUT_BYTES_MAX (4 << 20)

static int replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc(INPUT_BYTES_MAX), *exact;
    size_t len;

    if (!f || !data) {
        perror(path);
        exit(1);
    }
    len = fread(data, 1, INPUT_BYTES_MAX, f);
    fclose(f);
    /* A block of exactly the input's size, so that the sanitizer sees a read past it. */
    exact = malloc(len ? len : 1);
    if (!exact)
        exit(1);
    for (size_t i = 0; i < len; i++)
        exact[i] = data[i];
    free(data);
    LLVMFuzzerTestOneInput(exact, len);
    free(exact);
    return 1;
}

int main(int argc, char **argv)
{
    struct dirent *entry;
    char path[4096];
    int count = 0;
    DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;

    if (!dir) {
        fprintf(stderr, "usage: %s CORPUS_FOLDER (it must exist and hold at least one input)\n", argv[0]);
        return 2;
    }
    while ((entry = readdir(dir)))
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
            count += replay_file(path);
        }
    closedir(dir);
    printf("%d inputs\n", count);
    return count ? 0 : 1;
}
