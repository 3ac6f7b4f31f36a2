/* Files that somebody put into $CORRAL_HOME/models: listed as models, used where they lie. */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/log.h"
#include "store/store_int.h"

/* The number of a part of a split file, NAME-00002-of-00003.gguf; 0: it is none. */
static unsigned part_number(const char *file, size_t n_stem)
{
    unsigned no = 0, count = 0;
    int used = 0;
    if (n_stem < 15 || sscanf(file + n_stem - 15, "-%5u-of-%5u%n", &no, &count, &used) != 2 || used != 15)
        return 0;
    return no;
}

/* "Llama 3.2-Q4_K_M.gguf" -> "llama-3.2-q4_k_m:latest"; false: not one that is listed. */
static bool name_of_file(const char *file, unsigned again, char out[STORE_NAME_MAX])
{
    char stem[STORE_NAME_MAX], number[16] = "";
    size_t n = strlen(file), k = 0;
    if (n <= 5 || strcasecmp(file + n - 5, ".gguf") != 0 || file[0] == '.') return false;
    n -= 5;
    unsigned part = part_number(file, n);
    if (part > 1) return false;
    if (part == 1) n -= 15;
    if (again > 1) snprintf(number, sizeof number, "-%u", again);
    for (size_t i = 0; i < n && k < 200; i++) {
        char c = (char)tolower((unsigned char)file[i]);
        bool good = isalnum((unsigned char)c) && (unsigned char)c < 128;
        if (!good && k == 0) continue;
        if (!good && (stem[k - 1] == '.' || stem[k - 1] == '-')) continue; /* no dots beside each other */
        stem[k++] = good || strchr("._-+", c) ? c : '-';
    }
    snprintf(stem + k, sizeof stem - k, "%s", number);
    return k && store_name(out, stem, NULL) == OK;
}

/* The row of a file that was found before: refreshed if the file changed. ERR_NOT_FOUND: there is none. */
static status refresh(struct store *s, const char *path, const struct stat *st, int64_t mtime_ns,
                      struct error *e)
{
    sqlite3_stmt *q;
    TRY(db_query(s, &q, e, "SELECT id, bytes, mtime_ns FROM version WHERE path = ? AND NOT owned", "t",
                 path));
    TRY(db_next(s, q, e));
    int64_t id = sqlite3_column_int64(q, 0), bytes = sqlite3_column_int64(q, 1),
            mtime = sqlite3_column_int64(q, 2);
    db_done(q);
    if (bytes == st->st_size && mtime == mtime_ns) return OK;
    return db_run(s, e, "UPDATE version SET bytes = ?, mtime_ns = ?, facts = '{}', digest = '' WHERE id = ?",
                  "iii", (int64_t)st->st_size, mtime_ns, id);
}

static status add_file(struct store *s, const char *folder, const char *file, struct error *e)
{
    char path[STORE_PATH_MAX], name[STORE_NAME_MAX], whole[STORE_PATH_MAX + 256];
    struct stat st;
    struct model_row row;
    if (!name_of_file(file, 1, name)) return OK;
    snprintf(path, sizeof path, "models/%s", file);
    snprintf(whole, sizeof whole, "%s/%s", folder, file);
    if (stat(whole, &st) != 0 || !S_ISREG(st.st_mode)) return OK;
    int64_t mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    status code = refresh(s, path, &st, mtime_ns, e);
    if (code != ERR_NOT_FOUND) return code;
    for (unsigned again = 1; again < 100 && name_of_file(file, again, name); again++) {
        code = model_find(s, name, &row, e);
        if (code == OK) continue; /* another model has the name */
        if (code != ERR_NOT_FOUND) return code;
        TRY(model_find_or_make(s, name, &row, e));
        return model_add_version(s, &row,
                                 &(struct model_new_version){.path = path,
                                                             .source = "",
                                                             .facts = "{}",
                                                             .bytes = (uint64_t)st.st_size,
                                                             .mtime_ns = mtime_ns,
                                                             .found = true},
                                 e);
    }
    return OK;
}

status found_look(struct store *s, struct error *e)
{
    char folder[STORE_PATH_MAX];
    struct dirent *d;
    status code;
    snprintf(folder, sizeof folder, "%s/models", s->home);
    DIR *dir = opendir(folder);
    if (!dir) {
        LOG(WARN, "store", "models", "%s cannot be read", folder);
        return OK;
    }
    bool alone = sqlite3_get_autocommit(s->db); /* else it is part of a change under way */
    code = alone ? db_begin(s, e) : OK;
    if (code == OK) {
        while (code == OK && (d = readdir(dir)) != NULL) code = add_file(s, folder, d->d_name, e);
        if (alone) code = db_end(s, code, e);
    }
    closedir(dir);
    return code;
}
