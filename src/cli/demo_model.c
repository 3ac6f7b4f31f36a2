/* models/demo.gguf inside the program, so that a model is there on every machine. */
#include "cli/model_file.h"

/* 64: the alignment of tensors in the file counts from its first byte. */
__asm__(".section .rodata\n"
        ".balign 64\n"
        ".globl demo_model_begin, demo_model_end\n"
        "demo_model_begin:\n"
        ".incbin \"" CORRAL_DEMO_MODEL "\"\n"
        "demo_model_end:\n"
        ".byte 0\n"
        ".text\n");

extern const unsigned char demo_model_begin[], demo_model_end[];

const void *demo_model_bytes(size_t *n)
{
    *n = (size_t)(demo_model_end - demo_model_begin);
    return demo_model_begin;
}
