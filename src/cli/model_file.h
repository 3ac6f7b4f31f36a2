/* Which file a model argument means, and opening it. */
#ifndef CORRAL_CLI_MODEL_FILE_H
#define CORRAL_CLI_MODEL_FILE_H

#include "base/base.h"
#include "format/gguf.h"

enum { MODEL_PATH_MAX = 4096 };

/* $CORRAL_HOME, by default $XDG_DATA_HOME/corral or ~/.local/share/corral. Not created. */
status cli_home(char path[MODEL_PATH_MAX], struct error *e);

/* Open what name means: the model inside the program when it is NULL or "demo", a path, or a name in
 * $CORRAL_HOME/models or of the store. Writes to path what was opened ("demo" for the model inside).
 * ERR_NOT_FOUND says where it was looked for. options may be NULL. */
status model_file_open(struct gguf **out, char path[MODEL_PATH_MAX], const char *name,
                       const struct gguf_options *options, struct error *e);

/* The bytes of the model inside the program, a GGUF file of *n bytes. */
const void *demo_model_bytes(size_t *n);

#endif
