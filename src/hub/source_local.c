/* Files of this machine: a GGUF, or a folder with a model in it. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "hub/hub_int.h"

static status add(struct hub_plan *out, const char *folder, const char *name, struct error *e)
{
    struct stat st;
    struct buf path = {0};
    status r = OK;
    buf_addf(&path, "%s/%s", folder, name);
    if (stat(path.data, &st) == 0 && S_ISREG(st.st_mode) && hub_path_is_safe(name))
        r = hub_plan_add(out, name, mem_strdup(path.data), (uint64_t)st.st_size, "", e);
    buf_deinit(&path);
    return r;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct hub_file *)a)->path, ((const struct hub_file *)b)->path);
}

/* All files of a folder, in the order of their names. */
static status list(struct hub_plan *out, const char *folder, struct error *e)
{
    DIR *d = opendir(folder);
    status r = OK;
    if (!d) return fail(e, ERR_IO, "%s", strerror(errno));
    for (struct dirent *entry; r == OK && (entry = readdir(d));)
        if (entry->d_name[0] != '.') r = add(out, folder, entry->d_name, e);
    closedir(d);
    if (out->n_file) qsort(out->file, out->n_file, sizeof *out->file, by_name);
    return r;
}

static status plan(struct hub_session *s, const struct hub_ref *ref, struct hub_plan *out, struct error *e)
{
    struct stat st;
    if (s->config->no_local) return fail(e, ERR_ARG, "files of this machine may not be named here");
    if (stat(ref->repo, &st) != 0)
        return fail(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s", strerror(errno));
    if (S_ISDIR(st.st_mode)) {
        TRY(list(out, ref->repo, e));
        return hub_choose(out, NULL, NULL, e);
    }
    if (!S_ISREG(st.st_mode)) return fail(e, ERR_ARG, "this is neither a file nor a folder");
    const char *slash = strrchr(ref->repo, '/');
    char *folder = mem_strndup(ref->repo, slash > ref->repo ? (size_t)(slash - ref->repo) : 1);
    status r = list(out, folder, e); /* the other parts of a split file lie beside it */
    free(folder);
    return r == OK ? hub_choose(out, slash + 1, NULL, e) : r;
}

const struct hub_source hub_local = {.plan = plan};
