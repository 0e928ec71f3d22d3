/* Any words as a command line, one a line: understood or refused with a reason. Words that would read files
 * of the machine are left out. */
#include <stdlib.h>

#include "config/internal.h"

#define WORDS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static bool reads_files(const char *word)
{
    return strstr(word, "config") || strstr(word, "authkeyPath") || strstr(word, "HeaderFile");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char *text = malloc(len + 1), *words[WORDS_MAX + 1] = { (char *)(uintptr_t) "tsnsrv" };
    struct config c;
    int count = 1, r;

    must(text);
    if (len)
        memcpy(text, data, len);
    text[len] = 0;
    for (char *word = strtok(text, "\n"); word && count < WORDS_MAX; word = strtok(NULL, "\n"))
        if (!reads_files(word))
            words[count++] = word;
    r = config_load_mode(&c, count, words, CONFIG_STRICT);
    must(r >= 0);
    must(r == 0 || r == CONFIG_HELP ? !c.problem_count || r == CONFIG_HELP
                                    : c.problem_count && c.problems.len);
    for (size_t i = 0; i < c.service_count && r == 0; i++) {
        struct ip_port listen;

        must(*c.services[i].name && *c.services[i].upstream && *c.services[i].state_directory);
        must(config_listen(c.services[i].listen_address, &listen) && listen.port);
    }
    config_free(&c);
    free(text);
    return 0;
}
