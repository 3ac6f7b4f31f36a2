#include "cli/model_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/remote.h"

status cli_home(char path[MODEL_PATH_MAX], struct error *e)
{
    const char *own = getenv("CORRAL_HOME"), *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    int n;
    if (own && *own)
        n = snprintf(path, MODEL_PATH_MAX, "%s", own);
    else if (data && *data)
        n = snprintf(path, MODEL_PATH_MAX, "%s/corral", data);
    else if (home && *home)
        n = snprintf(path, MODEL_PATH_MAX, "%s/.local/share/corral", home);
    else
        return fail(e, ERR_NOT_FOUND, "neither CORRAL_HOME, XDG_DATA_HOME nor HOME is set");
    return n < MODEL_PATH_MAX ? OK : fail(e, ERR_LIMIT, "the path of CORRAL_HOME is too long");
}

/* path = folder/models/name ending; true when such a file can be read. */
static bool readable(char path[MODEL_PATH_MAX], const char *folder, const char *name, const char *ending)
{
    return snprintf(path, MODEL_PATH_MAX, "%s/models/%s%s", folder, name, ending) < MODEL_PATH_MAX &&
           access(path, R_OK) == 0;
}

/* A name of the store: whoever owns that is asked for the file. */
static status find_stored(char path[MODEL_PATH_MAX], const char *home, const char *name, struct error *e)
{
    char database[MODEL_PATH_MAX + 16];
    struct remote *r = NULL;
    json_t *m = NULL;
    snprintf(database, sizeof database, "%s/corral.db", home);
    if (access(database, R_OK) != 0)
        return fail(e, ERR_NOT_FOUND, "no model file '%s' here, and none of that name in $CORRAL_HOME/models",
                    name);
    status s = remote_open(&r, &(struct remote_options){0}, e);
    if (s == OK) s = remote_ask(r, "GET", remote_path("/models/", name, ""), NULL, &m, e);
    if (s == OK && (!*json_text(m, "path") ||
                    snprintf(path, MODEL_PATH_MAX, "%s", json_text(m, "path")) >= MODEL_PATH_MAX))
        s = fail(e, ERR_NOT_FOUND, "the model '%s' has no file on this machine", name);
    json_decref(m);
    remote_close(r);
    return s;
}

static status find(char path[MODEL_PATH_MAX], const char *name, struct error *e)
{
    char folder[MODEL_PATH_MAX];
    if (!*name) return fail(e, ERR_ARG, "the name of the model is empty");
    if (snprintf(path, MODEL_PATH_MAX, "%s", name) >= MODEL_PATH_MAX)
        return fail(e, ERR_LIMIT, "the path of the model is too long");
    if (access(path, F_OK) == 0) return OK; /* whether it can be read, opening it will tell */
    if (*name == '/' || *name == '.') return fail(e, ERR_NOT_FOUND, "no model file %s", name);
    TRY(cli_home(folder, e));
    if (readable(path, folder, name, "") || readable(path, folder, name, ".gguf")) return OK;
    return find_stored(path, folder, name, e);
}

/* A folder may be a model as the hub has them. */
static status no_folder(const char *path, struct error *e)
{
    char config[MODEL_PATH_MAX + 16];
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) return OK;
    snprintf(config, sizeof config, "%s/config.json", path);
    if (access(config, F_OK) != 0) return fail(e, ERR_ARG, "this is a folder, not a file: %s", path);
    return fail(e, ERR_UNSUPPORTED,
                "safetensors models can be pulled and not run yet: pull a GGUF of this one, or convert it "
                "(convert_hf_to_gguf.py of llama.cpp): %s",
                path);
}

status model_file_open(struct gguf **out, char path[MODEL_PATH_MAX], const char *name,
                       const struct gguf_options *options, struct error *e)
{
    if (name && strcmp(name, "demo") != 0) {
        TRY(find(path, name, e));
        TRY(no_folder(path, e));
        return gguf_open(out, path, options, e);
    }
    struct gguf_options inside = options ? *options : (struct gguf_options){0};
    size_t n;
    const void *demo = demo_model_bytes(&n);
    snprintf(path, MODEL_PATH_MAX, "demo");
    inside.name = "demo";
    return gguf_open_memory(out, demo, n, &inside, e);
}
