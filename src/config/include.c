/* config/include.c - "include": one pattern or a list of them; a folder stands for its *.yaml and *.yml
 *
 * Names are relative to the folder of the file that includes them, and each pattern's files are read in the
 * order of their names. A file may be open only once: a loop is said where it closes.
 */
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "config/internal.h"

int include_enter(struct yaml_reading *y, const char *path)
{
    struct stat st;

    if (stat(path, &st))
        return -errno;
    if (S_ISDIR(st.st_mode))
        return -EISDIR;
    for (unsigned i = 0; i < y->depth; i++)
        if (y->open[i].device == st.st_dev && y->open[i].inode == st.st_ino)
            return -ELOOP;
    if (y->depth == CONFIG_INCLUDE_DEPTH_MAX)
        return -E2BIG;
    y->open[y->depth].device = st.st_dev;
    y->open[y->depth].inode = st.st_ino;
    y->depth++;
    return 0;
}

static const char *why_not(int r)
{
    switch (r) {
    case -ELOOP:
        return "the include loops: this file is being read already";
    case -E2BIG:
        return "includes are nested too deep: at most 8";
    case -EFBIG:
        return "the file is larger than 1 MiB";
    default:
        return err_text(r);
    }
}

static void include_file(struct yaml_reading *y, const char *path, const struct yaml_node *at,
                         const struct config_service *defaults)
{
    int r;

    if (y->c->file_count >= CONFIG_FILES_MAX) {
        problem_at(y->c, at->place, "more than %d files", CONFIG_FILES_MAX);
        return;
    }
    r = include_enter(y, path);
    if (!r) {
        r = yaml_read_file(y, path, defaults);
        y->depth--;
    }
    if (r == -ENOMEM)
        y->failed = r;
    else if (r)
        problem_at(y->c, at->place, "include \"%.200s\": %s", path, why_not(r));
}

/* The pattern as seen from the folder of the file that has it; NULL: no memory. */
static char *from_file(const struct yaml_reading *y, const struct yaml_node *at, struct span pattern)
{
    const char *file = y->c->files[at->place.file], *slash = strrchr(file, '/');
    char *path;

    if ((pattern.len && pattern.data[0] == '/') || !slash)
        return text_dup(pattern);
    return asprintf(&path, "%.*s/%.*s", (int)(slash - file), file, (int)pattern.len,
                    (const char *)pattern.data) < 0
               ? NULL
               : path;
}

static bool is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* All *.yaml and *.yml of a folder, or what a pattern matches, by name. */
static int find_files(const char *path, glob_t *found)
{
    char *pattern = NULL;
    int r;

    if (!is_folder(path))
        return glob(path, 0, NULL, found);
    if (asprintf(&pattern, "%s/*.y*ml", path) < 0)
        return GLOB_NOSPACE;
    r = glob(pattern, 0, NULL, found);
    free(pattern);
    return r;
}

static void include_pattern(struct yaml_reading *y, const struct yaml_node *at,
                            const struct config_service *defaults)
{
    struct span pattern;
    glob_t found = { 0 };
    char *path;
    int r;

    if (at->kind != YAML_VALUE || !at->text.len) {
        problem_at(y->c, at->place,
                   "a file, a folder or a pattern is expected for \"include\": write conf.d/*.yaml");
        return;
    }
    if (!expand(y, at, &pattern))
        return;
    path = from_file(y, at, pattern);
    r = path ? find_files(path, &found) : GLOB_NOSPACE;
    if (r == GLOB_NOSPACE)
        y->failed = -ENOMEM;
    else if (r == GLOB_NOMATCH && !is_folder(path) && !strpbrk(path, "*?["))
        problem_at(y->c, at->place, "include \"%.200s\": %s", path, err_text(ENOENT));
    else if (r == GLOB_NOMATCH)
        notice(y->c, "%s: include \"%.200s\": there is no such file yet", y->c->files[at->place.file], path);
    else if (r)
        problem_at(y->c, at->place, "include \"%.200s\": cannot be read", path);
    for (size_t i = 0; !r && i < found.gl_pathc; i++)
        include_file(y, found.gl_pathv[i], at, defaults);
    globfree(&found);
    free(path);
}

void include_files(struct yaml_reading *y, const struct yaml_node *n, const struct config_service *defaults)
{
    if (n->kind != YAML_LIST) {
        include_pattern(y, n, defaults);
        return;
    }
    for (const struct yaml_entry *e = n->entries; e; e = e->next)
        include_pattern(y, e->value, defaults);
}
