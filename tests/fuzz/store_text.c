/* Names and options as clients send them: any bytes end in a result or an error, and a name's spelling is its
 * own. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *text = mem_strndup((const char *)data, n), name[STORE_NAME_MAX], again[STORE_NAME_MAX],
         brief[STORE_NAME_MAX];
    struct store_settings o;
    struct error e;
    if (store_name(name, text, &e) == OK) {
        ASSERT(store_name(again, name, &e) == OK && strcmp(name, again) == 0);
        store_name_short(brief, name);
        ASSERT(store_name(again, brief, &e) == OK && strcmp(name, again) == 0);
    }
    if (store_settings_read(&o, text, &e) == OK) ASSERT(o.context >= 0 && o.keep_alive_ms >= STORE_UNSET);
    store_settings_deinit(&o);
    free(text);
    return 0;
}
