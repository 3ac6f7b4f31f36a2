#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "--version")) {
        puts("corral " CORRAL_VERSION);
        return EXIT_OK;
    }
    return EXIT_USAGE;
}
