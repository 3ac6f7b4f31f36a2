/* Commands of the contract whose issues have not landed yet: they say so and exit with status 2. */
#include "cli/cli.h"

static int not_supported(int argc, char **argv)
{
    fprintf(stderr, "corral: %s is not supported yet by this version (" CORRAL_VERSION ")\n", argv[0]);
    return EXIT_USAGE;
}

static const struct opt no_options[] = {{0}};

const struct command cmd_schema = {
    .name = "schema",
    .args = "[-m MODEL]",
    .summary = "compile JSON schemas to token masks (not supported yet)",
    .opts = no_options,
    .run = not_supported,
};
