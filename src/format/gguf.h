/* GGUF model files, version 2 and 3, mapped: a table of metadata and of named tensors. No policy.
 * Source: the GGUF specification, ggml-org/ggml docs/gguf.md.
 *
 * Everything in a file is hostile until checked here: after gguf_open succeeds every tensor's bytes lie
 * inside the mapping, its shape multiplies without overflow, names are unique, and strings are inside the
 * file. Strings are not NUL-terminated in the file; names and keys are copied and terminated. */
#ifndef CORRAL_GGUF_H
#define CORRAL_GGUF_H

#include "base/base.h"
#include "tensor/dtype.h"

enum gguf_type {
    GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_STR, GGUF_ARR,
    GGUF_U64, GGUF_I64, GGUF_F64, GGUF_TYPE_COUNT
};

struct gguf_str { const char *p; size_t n; }; /* borrowed from the mapping */

struct gguf_value {
    const char    *key;
    enum gguf_type type; /* of the value; GGUF_ARR: n elements of type elem; else n is 1 and elem is type */
    enum gguf_type elem;
    uint64_t       n;
    const uint8_t *data;       /* scalar or array elements as in the file: little endian, unaligned */
    const struct gguf_str *str; /* elem or type GGUF_STR: n (or 1) strings */
};

struct gguf_tensor {
    const char    *name;
    enum dtype     dtype;
    uint8_t        rank;   /* 1..4 */
    int64_t        dim[4]; /* row-major, outermost first: dim[rank-1] is contiguous */
    size_t         n_bytes;
    const uint8_t *data; /* in the mapping; NULL when opened with meta_only */
};

struct gguf;
struct gguf_options {
    const char *const *set; /* n_set strings KEY=TYPE:VALUE that override or add scalar metadata */
    size_t             n_set;
    bool               meta_only; /* do not require tensor data to be present (vocabulary files, headers) */
    const char        *name;      /* what gguf_open_memory calls the file; NULL: "(memory)" */
};

/* path may be any part of a split file (NAME-00001-of-00003.gguf): all parts are opened.
 * options may be NULL. */
status gguf_open(struct gguf **out, const char *path, const struct gguf_options *options, struct error *e);
/* The same from memory, which stays the caller's and must outlive the result. */
status gguf_open_memory(struct gguf **out, const void *data, size_t n, const struct gguf_options *options,
                        struct error *e);
void gguf_close(struct gguf *g); /* NULL is fine */

const char               *gguf_path(const struct gguf *g);
size_t                    gguf_file_bytes(const struct gguf *g); /* all parts */
size_t                    gguf_n_values(const struct gguf *g);
const struct gguf_value  *gguf_value_at(const struct gguf *g, size_t i); /* in file order */
size_t                    gguf_n_tensors(const struct gguf *g);
const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, size_t i);
const struct gguf_value  *gguf_find(const struct gguf *g, const char *key);         /* NULL: absent */
const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name); /* NULL: absent */

/* Typed getters. Absent key: *out is left alone and OK is returned when required is false, else
 * ERR_NOT_FOUND names the key. Any integer type is taken if the value fits; a wrong type is ERR_FORMAT. */
status gguf_get_u32(const struct gguf *g, const char *key, bool required, uint32_t *out, struct error *e);
status gguf_get_u64(const struct gguf *g, const char *key, bool required, uint64_t *out, struct error *e);
status gguf_get_f32(const struct gguf *g, const char *key, bool required, float *out, struct error *e);
status gguf_get_bool(const struct gguf *g, const char *key, bool required, bool *out, struct error *e);
status gguf_get_str(const struct gguf *g, const char *key, bool required, struct gguf_str *out, struct error *e);
/* Element i of a numeric array (or the scalar itself for i = 0) as a number; i must be in range. */
double  gguf_number(const struct gguf_value *v, uint64_t i);
int64_t gguf_integer(const struct gguf_value *v, uint64_t i); /* integers and bools only */

/* Writer: metadata, then tensor headers, then data in the same order; version 3, temporary file renamed
 * at the end. See gguf_write.c for the order of calls. */
struct gguf_writer;
status gguf_writer_open(struct gguf_writer **out, const char *path, struct error *e);
void   gguf_writer_value(struct gguf_writer *w, const struct gguf_value *v);     /* copy a value as it is */
void   gguf_writer_u32(struct gguf_writer *w, const char *key, uint32_t v);
void   gguf_writer_f32(struct gguf_writer *w, const char *key, float v);
void   gguf_writer_bool(struct gguf_writer *w, const char *key, bool v);
void   gguf_writer_str(struct gguf_writer *w, const char *key, const char *s);
void   gguf_writer_strs(struct gguf_writer *w, const char *key, const char *const *s, size_t n);
void   gguf_writer_f32s(struct gguf_writer *w, const char *key, const float *v, size_t n);
void   gguf_writer_i32s(struct gguf_writer *w, const char *key, const int32_t *v, size_t n);
void   gguf_writer_tensor(struct gguf_writer *w, const char *name, enum dtype t, uint8_t rank,
                          const int64_t *dim);
/* Write the header; after it the data of each declared tensor, in order, in as many calls as you like. */
status gguf_writer_begin_data(struct gguf_writer *w, struct error *e);
status gguf_writer_data(struct gguf_writer *w, const void *p, size_t n, struct error *e);
status gguf_writer_finish(struct gguf_writer *w, struct error *e); /* syncs and renames */
void   gguf_writer_close(struct gguf_writer *w); /* always; removes an unfinished temporary file */

#endif
