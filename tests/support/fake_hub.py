"""Plays the hubs that models come from, with faults: Hugging Face's tree and files, an Ollama registry, S3 that
checks signatures, plain files over HTTP.

    with FakeHub() as hub:
        hub.put("/files/a.gguf", data)
        hub.fault("/files/a.gguf", cut=[1000])      # the first answer ends after 1000 bytes
        ... fetch hub.url + "/files/a.gguf" ...
        hub.sent("/files/a.gguf")                    # bytes that went out for it

Files are served with ETag, ranges and If-Range. Every request is in hub.log."""
import collections
import hashlib
import hmac
import http.server
import json
import re
import threading
import time
import urllib.parse
import xml.sax.saxutils


class Fault:
    """What goes wrong with a path. Lists are used up: their first item counts for the next answer."""

    def __init__(self, cut=(), status=(), retry_after=None, corrupt=(), always_corrupt=None, slow=None, stall=(), ranges=True,
                 redirect=None, etag=True, gone_after=None, change=None, short=(), need=None, no_length=False, lies=()):
        self.cut = list(cut)          # end the connection after so many bytes of the body
        self.status = list(status)    # answer this instead
        self.retry_after = retry_after
        self.corrupt = list(corrupt)  # flip the byte at this place of the file, once
        self.always_corrupt = always_corrupt
        self.slow = slow              # bytes per second of each connection, or a list with those of the next answers
        self.stall = list(stall)      # after so many bytes nothing more comes
        self.ranges = ranges
        self.redirect = redirect      # to there
        self.etag = etag              # True: of the content; None: neither that nor a date; else this
        self.change = change          # (after so many requests, new content)
        self.short = list(short)      # so many bytes fewer than the range asked for
        self.need = need              # (header, value) or 403
        self.no_length = no_length
        self.lies = list(lies)        # (by how much Content-Range's first byte is wrong, by how much its total)


class FakeHub:
    def __init__(self):
        self.files, self.faults, self.routes = {}, {}, []
        self.log, self.lock = [], threading.Lock()
        self.requests = collections.Counter()
        self.busy = self.busiest = 0  # files on their way at once
        self.s3_secret = {"AKIDEXAMPLE": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self):
                hub.answer(self)

            do_HEAD = do_GET

            def log_message(self, *args):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request, address):
                pass  # clients that go away are part of the tests

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.server.shutdown()
        self.server.server_close()

    # -- what there is

    def put(self, path, data):
        self.files[path] = data

    def fault(self, path, **what):
        self.faults[path] = Fault(**what)

    def route(self, pattern, handler):
        """handler(request, match) -> (status, headers, body), or None to go on."""
        self.routes.append((re.compile(pattern), handler))

    def sent(self, path):
        with self.lock:
            return sum(r["sent"] for r in self.log if r["path"] == path)

    def asked(self, path):
        with self.lock:
            return [r for r in self.log if r["path"] == path]

    # -- answering

    def answer(self, request):
        path, _, query = request.path.partition("?")
        path = urllib.parse.unquote(path)
        entry = {"path": path, "query": query, "range": request.headers.get("Range"), "sent": 0,
                 "headers": dict(request.headers), "method": request.command, "status": 0}
        with self.lock:
            self.log.append(entry)
            self.requests[path] += 1
            fault = self.faults.get(path) or Fault()
            if fault.change and self.requests[path] > fault.change[0]:
                self.files[path], fault.change = fault.change[1], None
            status = fault.status.pop(0) if fault.status else 0
        try:
            if status:
                extra = {"Retry-After": str(fault.retry_after)} if fault.retry_after is not None else {}
                return self.reply(request, entry, status, extra, b'{"error":"as asked"}')
            if fault.need and request.headers.get(fault.need[0]) != fault.need[1]:
                return self.reply(request, entry, 403, {}, b"no")
            if fault.redirect:
                return self.reply(request, entry, 302, {"Location": fault.redirect}, b"elsewhere")
            for pattern, handler in self.routes:
                match = pattern.fullmatch(path)
                answer = handler(request, match) if match else None
                if isinstance(answer, bytes):
                    return self.send_file(request, entry, fault, answer)
                if answer:
                    return self.reply(request, entry, *answer)
            if path in self.files:
                return self.send_file(request, entry, fault, self.files[path])
            self.reply(request, entry, 404, {}, b"not here")
        except (BrokenPipeError, ConnectionResetError):
            request.close_connection = True

    def reply(self, request, entry, status, headers, body):
        entry["status"] = status
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)

    def send_file(self, request, entry, fault, data):
        etag = '"%s"' % hashlib.sha256(data).hexdigest()[:16] if fault.etag is True else fault.etag
        first, end, status = 0, len(data), 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        if_range = request.headers.get("If-Range")
        if asked and fault.ranges and (if_range is None or if_range == etag):
            first = int(asked[1])
            end = min(int(asked[2]) + 1 if asked[2] else end, end)
            if first >= len(data):
                return self.reply(request, entry, 416, {"Content-Range": f"bytes */{len(data)}"}, b"")
            status = 206
        with self.lock:
            cut = fault.cut.pop(0) if fault.cut else None
            stall = fault.stall.pop(0) if fault.stall else None
            slow = fault.slow if not isinstance(fault.slow, list) else fault.slow.pop(0) if fault.slow else None
            if fault.short and status == 206:
                end = max(first + 1, end - fault.short.pop(0))
            shift, grow = fault.lies.pop(0) if fault.lies and status == 206 else (0, 0)
            body = bytearray(data[first:end])
            for place in [p for p in fault.corrupt if first <= p < end]:
                body[place - first] ^= 0x55
                fault.corrupt.remove(place)
            if fault.always_corrupt is not None and first <= fault.always_corrupt < end:
                body[fault.always_corrupt - first] ^= 0x55
        entry["status"] = status
        request.send_response(status)
        if not fault.no_length:
            request.send_header("Content-Length", str(len(body)))
        else:
            request.send_header("Connection", "close")
            request.close_connection = True
        if status == 206:
            request.send_header("Content-Range", f"bytes {first + shift}-{end - 1 + shift}/{len(data) + grow}")
        if etag:
            request.send_header("ETag", etag)
        if fault.ranges:
            request.send_header("Accept-Ranges", "bytes")
        request.end_headers()
        if request.command != "HEAD":
            with self.lock:
                self.busy += 1
                self.busiest = max(self.busy, self.busiest)
            try:
                self.send_body(request, entry, slow, body, cut, stall)
            finally:
                with self.lock:
                    self.busy -= 1

    def send_body(self, request, entry, slow, body, cut, stall):
        piece = 65536 if not slow else max(1, min(16384, slow // 50))
        at = 0
        while at < len(body):
            n = min(piece, len(body) - at)
            for limit in (cut, stall):
                if limit is not None:
                    n = min(n, limit - at)
            if n <= 0:
                request.close_connection = True
                if stall is not None and at >= stall:
                    time.sleep(30)
                request.connection.close()
                return
            request.wfile.write(body[at:at + n])
            at += n
            entry["sent"] += n
            if slow:
                time.sleep(n / slow)

    # -- Hugging Face

    def hf_repo(self, repo, files, commit="0123456789abcdef0123456789abcdef01234567", revs=("main",), token=None, page=1000,
                gated=False, lie=None):
        """files: {path: bytes}; *.gguf, *.safetensors and *.model are in LFS. lie: how large these are said to be."""
        def refused(request):
            if token and request.headers.get("Authorization") != f"Bearer {token}":
                code = "GatedRepo" if gated else "RepoNotFound"
                return 403 if gated else 401, {"X-Error-Code": code}, b'{"error":"no"}'
            return None

        def revision(request, match):
            if refused(request):
                return refused(request)
            if match[1] not in (*revs, commit):
                return 404, {"X-Error-Code": "RevisionNotFound"}, b'{"error":"no such revision"}'
            return 200, {}, json.dumps({"id": repo, "sha": commit, "gated": gated}).encode()

        def tree(request, match):
            if refused(request):
                return refused(request)
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(request.path).query)
            start = int(query.get("cursor", ["0"])[0])
            entries = []
            for path, data in sorted(files.items()):
                blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
                entry = {"type": "file", "oid": blob, "size": len(data), "path": path}
                if re.search(r"\.(gguf|safetensors|model)$", path):
                    entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": lie or len(data), "pointerSize": 134}
                entries.append(entry)
            entries.append({"type": "directory", "oid": "0" * 40, "size": 0, "path": "folder"})
            headers = {}
            if start + page < len(entries):
                headers["Link"] = f'<{self.url}/api/models/{repo}/tree/{commit}?recursive=1&cursor={start + page}>; rel="next"'
            return 200, headers, json.dumps(entries[start:start + page]).encode()

        def resolve(request, match):
            if refused(request):
                return refused(request)
            return files.get(match[1]) or (404, {"X-Error-Code": "EntryNotFound"}, b"no such file")

        name = re.escape(repo)
        self.route(rf"/api/models/{name}/revision/(.+)", revision)
        self.route(rf"/api/models/{name}/tree/{commit}", tree)
        self.route(rf"/{name}/resolve/{commit}/(.+)", resolve)
        return f"/{repo}/resolve/{commit}/"

    # -- an Ollama registry

    def ollama_model(self, name, layers, tag="latest", token=None):
        """layers: [(kind, bytes)], kind of application/vnd.ollama.image.KIND."""
        def digest(data):
            return "sha256:" + hashlib.sha256(data).hexdigest()

        config = json.dumps({"model_format": "gguf"}).encode()
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                    "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": digest(config),
                               "size": len(config)},
                    "layers": [{"mediaType": f"application/vnd.ollama.image.{kind}", "digest": digest(data), "size": len(data)}
                               for kind, data in layers]}

        def refused(request):
            if token and request.headers.get("Authorization") != f"Bearer {token}":
                challenge = f'Bearer realm="{self.url}/token",service="registry",scope="repository:{name}:pull"'
                return 401, {"WWW-Authenticate": challenge}, b'{"errors":[{"code":"UNAUTHORIZED"}]}'
            return None

        def give_token(request, match):
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(request.path).query)
            assert query == {"service": ["registry"], "scope": [f"repository:{name}:pull"]}, query
            return 200, {}, json.dumps({"token": token}).encode()

        def give_manifest(request, match):
            return refused(request) or (200, {}, json.dumps(manifest).encode())

        def give_blob(request, match):
            if refused(request):
                return refused(request)
            for data in [config] + [data for _, data in layers]:
                if digest(data) == match[1]:
                    return data
            return 404, {}, b"no such blob"

        self.route(r"/token", give_token)
        self.route(rf"/v2/{re.escape(name)}/manifests/{re.escape(tag)}", give_manifest)
        self.route(rf"/v2/{re.escape(name)}/blobs/(.+)", give_blob)
        return [f"/v2/{name}/blobs/{digest(data)}" for _, data in layers]

    # -- S3, with the bucket in the path

    def s3_bucket(self, bucket, objects, page=1000, anonymous=False, region="us-east-1"):
        def refused(request):
            why = None if anonymous else self.s3_refusal(request, region)
            if not why:
                return None
            body = f"<?xml version='1.0'?><Error><Code>{why}</Code><Message>as the test wants it</Message></Error>"
            return 403, {"Content-Type": "application/xml"}, body.encode()

        def listing(request, match):
            if refused(request):
                return refused(request)
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(request.path).query)
            assert query["list-type"] == ["2"], query
            prefix, token = query.get("prefix", [""])[0], int(query.get("continuation-token", ["0"])[0])
            keys = sorted(k for k in objects if k.startswith(prefix))
            more = token + page < len(keys)
            xml = ["<?xml version='1.0' encoding='UTF-8'?><ListBucketResult>", f"<IsTruncated>{str(more).lower()}</IsTruncated>"]
            for key in keys[token:token + page]:
                etag = hashlib.md5(objects[key]).hexdigest()
                xml.append(f"<Contents><Key>{xml_text(key)}</Key><ETag>&quot;{etag}&quot;</ETag>"
                           f"<Size>{len(objects[key])}</Size></Contents>")
            if more:
                xml.append(f"<NextContinuationToken>{token + page}</NextContinuationToken>")
            return 200, {}, "".join(xml + ["</ListBucketResult>"]).encode()

        def get(request, match):
            return refused(request) or objects.get(match[1]) or (
                404, {}, b"<Error><Code>NoSuchKey</Code><Message>There is no such key</Message></Error>")

        self.route(rf"/{bucket}/?", listing)
        self.route(rf"/{bucket}/(.+)", get)

    def s3_refusal(self, request, region):
        """None, or the error's code. The signature is computed as AWS documents it, from the request as it came."""
        match = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, ?"
                             r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})", request.headers.get("Authorization", ""))
        if not match:
            return "AccessDenied"
        key, date, where, names, signature = match.groups()
        if key not in self.s3_secret:
            return "InvalidAccessKeyId"
        if where != region:
            return "AuthorizationHeaderMalformed"
        names = names.split(";")
        if names != sorted(names) or not {"host", "x-amz-date", "x-amz-content-sha256"} <= set(names):
            return "AccessDenied"
        if abs(time.time() - time_of(request.headers["x-amz-date"])) > 900:
            return "RequestTimeTooSkewed"
        path, _, query = request.path.partition("?")
        pairs = sorted(tuple(part.partition("=")[::2]) for part in query.split("&")) if query else []
        canonical = "\n".join([
            request.command, path, "&".join(f"{k}={v}" for k, v in pairs),
            *(f"{n}:{' '.join(request.headers[n].split())}" for n in names), "", ";".join(names),
            request.headers["x-amz-content-sha256"]])
        text = "\n".join(["AWS4-HMAC-SHA256", request.headers["x-amz-date"], f"{date}/{where}/s3/aws4_request",
                          hashlib.sha256(canonical.encode()).hexdigest()])
        k = ("AWS4" + self.s3_secret[key]).encode()
        for part in (date, where, "s3", "aws4_request"):
            k = hmac.digest(k, part.encode(), "sha256")
        good = hmac.compare_digest(hmac.new(k, text.encode(), "sha256").hexdigest(), signature)
        return None if good else "SignatureDoesNotMatch"


def xml_text(s):
    return xml.sax.saxutils.escape(s)


def time_of(amz):
    import calendar
    return calendar.timegm(time.strptime(amz, "%Y%m%dT%H%M%SZ"))


if __name__ == "__main__":  # to look at by hand
    with FakeHub() as fake:
        fake.put("/files/zeros.gguf", bytes(1 << 22))
        fake.hf_repo("org/repo", {"README.md": b"hello", "repo-Q4_K_M.gguf": b"GGUF" + bytes(1 << 20)})
        fake.ollama_model("library/tiny", [("model", b"GGUF" + bytes(1 << 20)), ("template", b"{{ .Prompt }}")])
        print(fake.url, flush=True)
        threading.Event().wait()
