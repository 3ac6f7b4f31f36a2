/* Runs a fuzz target over files or folders of files, once each, where libFuzzer is not linked in. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int replay(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        perror(path);
        return 1;
    }
    if (!S_ISDIR(st.st_mode)) {
        struct buf b = {.max = 64u << 20};
        struct error e;
        if (buf_read_file(&b, path, &e) != OK) {
            fprintf(stderr, "%s\n", e.msg);
            return 1;
        }
        LLVMFuzzerTestOneInput((const uint8_t *)(b.data ? b.data : ""), b.n);
        buf_deinit(&b);
        return 0;
    }
    DIR *d = opendir(path);
    int failed = d ? 0 : 1;
    for (struct dirent *f; d && (f = readdir(d));) {
        char name[4096];
        if (f->d_name[0] == '.') continue;
        snprintf(name, sizeof name, "%s/%s", path, f->d_name);
        failed |= replay(name);
    }
    if (d) closedir(d);
    return failed;
}

int main(int argc, char **argv)
{
    int failed = 0;
    for (int i = 1; i < argc; i++) failed |= replay(argv[i]);
    return failed;
}
