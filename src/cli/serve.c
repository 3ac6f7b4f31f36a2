/* corral serve: one model behind the HTTP APIs, which is what a worker does. */
#include "cli/worker.h"

const struct command cmd_serve = {
    .name = "serve",
    .args = "[MODEL] [--host 127.0.0.1] [--port 8080] [--parallel 16] [options]",
    .summary = "serve a model over HTTP: the APIs of OpenAI, Ollama, Anthropic and llama.cpp",
    .help =
        "Examples:\n"
        "  corral serve                                   the demo model on http://127.0.0.1:8080\n"
        "  corral serve model.gguf --port 0               any free port; it is printed\n"
        "  corral serve model.gguf --host :: -p 32        on every address, 32 sequences at once\n"
        "  corral serve model.gguf --socket /run/corral   on a Unix socket\n"
        "\nThe APIs of OpenAI (/v1/chat/completions, ...), Ollama (/api/...), Anthropic (/v1/messages) and\n"
        "llama.cpp's server (/completion, ...), POST /chat, /v1/ws, /health, /metrics: GET /openapi.json has "
        "all\n"
        "paths and fields, docs/api.md the words.\n"
        "SIGTERM and SIGINT stop accepting and let answers finish; a second one quits at once.\n"
        "SIGUSR2 starts the program anew and hands it the socket: a restart that refuses nobody.\n",
    .opts = worker_opts,
    .run = worker_main,
};
