/* Conversations and tools of Anthropic and Ollama as OpenAI's: tables of what goes in and what comes out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "api/anthropic.h"
#include "api/ollama.h"

#include <cmocka.h>

enum { KIND_ANTHROPIC, KIND_ANTHROPIC_TOOLS, KIND_OLLAMA };

struct row {
    int kind;
    const char *in, *out; /* out: JSON, or what the message of the refusal contains */
};

static json_t *parse(const char *text)
{
    json_error_t je;
    json_t *v = json_loads(text, JSON_DECODE_ANY, &je);
    if (!v) fail_msg("%s: %s", text, je.text);
    return v;
}

/* in: messages, or an object with system and messages. */
static json_t *convert(int kind, const json_t *in, struct fault *f)
{
    const json_t *messages = json_is_object(in) ? json_object_get(in, "messages") : in;
    *f = (struct fault){0};
    return kind == KIND_ANTHROPIC         ? anthropic_messages(json_object_get(in, "system"), messages, f)
           : kind == KIND_ANTHROPIC_TOOLS ? anthropic_tools(in, f)
                                          : ollama_messages(in, f);
}

static void conversations(void **state)
{
    static const struct row rows[] = {
        {KIND_ANTHROPIC, "[{'role':'user','content':'Hi'}]", "[{'role':'user','content':'Hi'}]"},
        {KIND_ANTHROPIC, "{'system':'Be brief','messages':[{'role':'user','content':'Hi'}]}",
         "[{'role':'system','content':'Be brief'},{'role':'user','content':'Hi'}]"},
        {KIND_ANTHROPIC,
         "{'system':[{'type':'text','text':'A','cache_control':{'type':'ephemeral'}},{'type':'text','text':'"
         "B'}],"
         "'messages':[{'role':'user','content':''}]}",
         "[{'role':'system','content':[{'type':'text','text':'A'},{'type':'text','text':'B'}]},"
         "{'role':'user','content':''}]"},
        /* turns of one role are one */
        {KIND_ANTHROPIC,
         "[{'role':'user','content':'a'},{'role':'user','content':[{'type':'text','text':'b'}]}]",
         "[{'role':'user','content':[{'type':'text','text':'a'},{'type':'text','text':'b'}]}]"},
        /* a call, thought about before, and its result with more text */
        {KIND_ANTHROPIC,
         "[{'role':'user','content':'W?'},"
         "{'role':'assistant','content':[{'type':'thinking','thinking':'hm','signature':'x'},"
         "{'type':'redacted_thinking','data':'..'},{'type':'text','text':'Look:'},"
         "{'type':'tool_use','id':'t1','name':'w','input':{'city':'Bonn'}}]},"
         "{'role':'user','content':[{'type':'tool_result','tool_use_id':'t1','content':"
         "[{'type':'text','text':'12 C'}]},{'type':'text','text':'And?'}]}]",
         "[{'role':'user','content':'W?'},"
         "{'role':'assistant','content':'Look:','reasoning_content':'hm','tool_calls':[{'id':'t1','type':'"
         "function',"
         "'function':{'name':'w','arguments':'{\\\"city\\\":\\\"Bonn\\\"}'}}]},"
         "{'role':'tool','tool_call_id':'t1','content':'12 C'},{'role':'user','content':'And?'}]"},
        /* calls alone; results alone, one without content; text before a result */
        {KIND_ANTHROPIC,
         "[{'role':'assistant','content':[{'type':'tool_use','id':'a','name':'f','input':{}},"
         "{'type':'tool_use','id':'b','name':'g','input':{}}]},"
         "{'role':'user','content':[{'type':'text','text':'so'},{'type':'tool_result','tool_use_id':'a'},"
         "{'type':'tool_result','tool_use_id':'b','content':'ok','is_error':false}]}]",
         "[{'role':'assistant','content':null,'tool_calls':["
         "{'id':'a','type':'function','function':{'name':'f','arguments':'{}'}},"
         "{'id':'b','type':'function','function':{'name':'g','arguments':'{}'}}]},"
         "{'role':'user','content':'so'},{'role':'tool','tool_call_id':'a','content':''},"
         "{'role':'tool','tool_call_id':'b','content':'ok'}]"},
        /* results that are errors */
        {KIND_ANTHROPIC,
         "[{'role':'user','content':[{'type':'tool_result','tool_use_id':'a','is_error':true,'content':'no "
         "such city'},"
         "{'type':'tool_result','tool_use_id':'b','is_error':true},"
         "{'type':'tool_result','tool_use_id':'c','is_error':true,'content':[{'type':'text','text':'ERROR "
         "7'}]}]}]",
         "[{'role':'tool','tool_call_id':'a','content':'Error: no such city'},"
         "{'role':'tool','tool_call_id':'b','content':'Error'},{'role':'tool','tool_call_id':'c','content':'"
         "ERROR 7'}]"},
        {KIND_ANTHROPIC_TOOLS,
         "[{'name':'f','description':'d','input_schema':{'type':'object'}},"
         "{'type':'custom','name':'g','input_schema':{},'strict':true,'cache_control':{}}]",
         "[{'type':'function','function':{'name':'f','description':'d','parameters':{'type':'object'}}},"
         "{'type':'function','function':{'name':'g','parameters':{},'strict':true}}]"},

        {KIND_OLLAMA, "[]", "[]"},
        {KIND_OLLAMA, "[{'role':'system','content':'s'},{'role':'user','content':'Hi','images':[]}]",
         "[{'role':'system','content':'s'},{'role':'user','content':'Hi'}]"},
        {KIND_OLLAMA, "[{'role':'assistant','content':'x','thinking':'hm'}]",
         "[{'role':'assistant','content':'x','reasoning_content':'hm'}]"},
        /* results find their calls by name, by id, in order */
        {KIND_OLLAMA,
         "[{'role':'assistant','content':'','tool_calls':[{'function':{'name':'f','arguments':{'a':1}}},"
         "{'function':{'name':'g','arguments':{}}},{'id':'own','function':{'name':'h','arguments':{}}}]},"
         "{'role':'tool','tool_name':'g','content':'2'},{'role':'tool','tool_call_id':'own','content':'3'},"
         "{'role':'tool','content':'1'}]",
         "[{'role':'assistant','content':'','tool_calls':["
         "{'id':'call_0','type':'function','function':{'name':'f','arguments':'{\\\"a\\\":1}'}},"
         "{'id':'call_1','type':'function','function':{'name':'g','arguments':'{}'}},"
         "{'id':'own','type':'function','function':{'name':'h','arguments':'{}'}}]},"
         "{'role':'tool','content':'2','tool_call_id':'call_1','name':'g'},"
         "{'role':'tool','content':'3','tool_call_id':'own'},{'role':'tool','content':'1','tool_call_id':'"
         "call_0'}]"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char in[2048], out[2048];
        struct fault f;
        snprintf(in, sizeof in, "%s", rows[i].in);
        snprintf(out, sizeof out, "%s", rows[i].out);
        for (char *c = in; *c; c++) *c = *c == '\'' ? '"' : *c;
        for (char *c = out; *c; c++) *c = *c == '\'' ? '"' : *c;
        json_t *from = parse(in), *want = parse(out), *got = convert(rows[i].kind, from, &f);
        char *text = got ? json_dumps(got, 0) : NULL;
        if (!got || !json_equal(got, want))
            fail_msg("%s\n  gives %s %s\n  want  %s", in, text ? text : "", f.msg, out);
        free(text);
        json_decref(got);
        json_decref(want);
        json_decref(from);
    }
}

static void what_is_refused(void **state)
{
    static const struct row rows[] = {
        {KIND_ANTHROPIC, "[]", "at least one message"},
        {KIND_ANTHROPIC, "'Hi'", "at least one message"},
        {KIND_ANTHROPIC, "{'system':1,'messages':[{'role':'user','content':'Hi'}]}", "system"},
        {KIND_ANTHROPIC, "[{'role':'system','content':'Hi'}]", "the field 'system'"},
        {KIND_ANTHROPIC, "[{'role':'user'}]", "messages.0.content"},
        {KIND_ANTHROPIC, "[1]", "messages.0"},
        {KIND_ANTHROPIC, "[{'role':'user','content':[1]}]", "messages.0.content.0"},
        {KIND_ANTHROPIC, "[{'role':'user','content':[{'type':'text'}]}]", "'text' must be a string"},
        {KIND_ANTHROPIC, "[{'role':'user','content':[{'type':'image','source':{}}]}]", "takes text only"},
        {KIND_ANTHROPIC, "[{'role':'user','content':[{'type':'document','source':{}}]}]", "takes text only"},
        {KIND_ANTHROPIC, "[{'role':'user','content':[{'type':'tool_use','id':'a','name':'f','input':{}}]}]",
         "a message of the user cannot have"},
        {KIND_ANTHROPIC, "[{'role':'assistant','content':[{'type':'tool_result','tool_use_id':'a'}]}]",
         "a message of the assistant cannot have"},
        {KIND_ANTHROPIC,
         "[{'role':'assistant','content':[{'type':'tool_use','id':'a','name':'f','input':'x'}]}]",
         "object 'input'"},
        {KIND_ANTHROPIC, "[{'role':'user','content':[{'type':'tool_result'}]}]", "tool_use_id"},
        {KIND_ANTHROPIC,
         "[{'role':'user','content':[{'type':'tool_result','tool_use_id':'a','content':[{'type':'image'}]}]}"
         "]",
         "text only"},
        {KIND_ANTHROPIC_TOOLS, "[{'type':'web_search_20250305','name':'web_search'}]", "web_search_20250305"},
        {KIND_ANTHROPIC_TOOLS, "[{'name':'f'}]", "input_schema"},
        {KIND_ANTHROPIC_TOOLS, "[1]", "tools.0"},

        {KIND_OLLAMA, "[{'content':'Hi'}]", "messages[0]"},
        {KIND_OLLAMA, "[{'role':'king','content':'Hi'}]", "messages[0]"},
        {KIND_OLLAMA, "[{'role':'user','content':['Hi']}]", "content must be a string"},
        {KIND_OLLAMA, "[{'role':'user','content':'Hi','images':['aGk=']}]", "text only"},
        {KIND_OLLAMA, "[{'role':'assistant','tool_calls':[{'function':{'name':'f','arguments':'{}'}}]}]",
         "object 'arguments'"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char in[1024];
        struct fault f;
        snprintf(in, sizeof in, "%s", rows[i].in);
        for (char *c = in; *c; c++) *c = *c == '\'' ? '"' : *c;
        if (rows[i].in[0] == '\'') strcpy(in, "\"Hi\"");
        json_t *from = parse(in), *got = convert(rows[i].kind, from, &f);
        if (got || f.code != 400 || !strstr(f.msg, rows[i].out))
            fail_msg("%s: %d '%s', want '%s'", in, f.code, f.msg, rows[i].out);
        json_decref(from);
    }
}

static void durations(void **state)
{
    static const struct {
        const char *json;
        bool ok;
        int64_t ns;
    } rows[] = {
        {"300", true, 300000000000},
        {"0", true, 0},
        {"-1", true, -1},
        {"0.5", true, 500000000},
        {"\"5m\"", true, 300000000000},
        {"\"1h30m\"", true, 5400000000000},
        {"\"-1s\"", true, -1},
        {"\"-1\"", true, -1},
        {"\"10\"", true, 10000000000},
        {"\"250ms\"", true, 250000000},
        {"\"1.5h\"", true, 5400000000000},
        {"1e300", true, INT64_MAX},
        {"\"\"", false, 0},
        {"\"5 m\"", false, 0},
        {"\"m\"", false, 0},
        {"\"5x\"", false, 0},
        {"true", false, 0},
        {"[]", false, 0},
        {"\"1m5\"", false, 0},
        {"\"nan\"", false, 0},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int64_t ns = 0;
        json_t *v = parse(rows[i].json);
        bool ok = ollama_duration(v, &ns);
        if (ok != rows[i].ok || (ok && ns != rows[i].ns))
            fail_msg("%s: %d %lld", rows[i].json, ok, (long long)ns);
        json_decref(v);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversations),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(durations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
