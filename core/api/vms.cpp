#include "core/api/vms.hpp"

#include "core/api/helpers.hpp"

#include <minions/base/deadline.hpp>

#include <Poco/URI.h>
#include <fmt/format.h>

#include <exception>
#include <thread>

namespace minions::core::api::vms {
namespace {

struct CreateBody {
    std::string name;
    std::string runtime;
    InstanceSpec spec;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("name", self.name,
              Field{.required = true, .max_size = 63, .doc = "unique; lower case, digits, hyphens"});
        visit("runtime", self.runtime, Field{.max_size = 63, .doc = "absent: the daemon's default"});
        InstanceSpec::fields(self.spec, visit);
    }
};

struct StopBody {
    bool force = false;
    double timeout_seconds = 30;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("force", self.force, Field{.doc = "end it at once, and any operation under way"});
        visit("timeout_seconds", self.timeout_seconds,
              Field{.min = 0, .max = 3600, .doc = "how long it may take to end by itself"});
    }
    StopOptions options() const {
        return {force, milliseconds(static_cast<std::int64_t>(timeout_seconds * 1000))};
    }
};

/// Of rename and of copy.
struct NewNameBody {
    std::string new_name;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("new_name", self.new_name, Field{.required = true, .max_size = 63});
    }
};

ChangeOptions change_of(const http::Request& request) { return {std::nullopt, idempotency_of(request)}; }

/// The path of a file transfer, checked before the runtime sees it.
std::string path_of(const http::Request& request) {
    const std::string* path = request.query("path");
    if (path == nullptr) throw Error(Code::invalid, "query parameter 'path' is required");
    if (path->empty() || path->front() != '/' || path->size() > 4096 ||
        path->find('\0') != std::string::npos) {
        throw Error(Code::invalid, "query parameter 'path' must be an absolute path of at most 4096 bytes");
    }
    return *path;
}

/// Copies a request's body into a pipe as it arrives, on a thread of its own.
class Upload {
  public:
    Upload(http::Request& request, Fd to)
        : reader_(*request.reader), gone_(request.client), to_(std::move(to)) {
        make_nonblocking(to_.get());
        thread_ = std::thread([this] { run(); });
    }
    Upload(const Upload&) = delete;
    Upload& operator=(const Upload&) = delete;
    ~Upload() { end(); }

    /// Readable once the body cannot be had to its end.
    int broken_fd() const noexcept { return broken_.fd(); }
    /// To be called once nobody reads the pipe any more, even if its other end is open for ever. Throws what
    /// the body broke off with.
    void finish() {
        end();
        if (failure_) std::rethrow_exception(failure_);
    }

  private:
    void end() {
        over_.raise();
        if (thread_.joinable()) thread_.join();
    }

    void run() {
        char buffer[64 << 10];
        try {
            for (std::size_t got = 0; (got = reader_.read(buffer, sizeof buffer)) > 0;) {
                if (!pass_on({buffer, got})) break;
            }
        } catch (...) {
            failure_ = std::current_exception();
            broken_.raise();
        }
        to_.reset();
    }

    /// False if the runtime reads no more; it says why itself.
    bool pass_on(std::string_view piece) {
        pollfd waits[] = {{to_.get(), POLLOUT, 0}, {over_.fd(), POLLIN, 0}, {gone_.fd(), POLLIN, 0}};
        while (!piece.empty()) {
            poll_until(waits, 3, no_deadline);
            if (waits[1].revents != 0) return false;
            if (waits[2].revents != 0) throw Error(Code::cancelled, "the client has gone");
            const ssize_t put = ::write(to_.get(), piece.data(), piece.size());
            if (put < 0 && errno != EAGAIN && errno != EINTR) return false;
            if (put > 0) piece.remove_prefix(static_cast<std::size_t>(put));
        }
        return true;
    }

    http::BodyReader& reader_;
    const CallerGone gone_;
    Fd to_;
    EventFd over_;
    EventFd broken_;
    std::exception_ptr failure_;
    std::thread thread_;
};

ListQuery list_query(const http::Request& request) {
    ListQuery query;
    query.owner = local_owner;
    if (const auto limit = query_integer(request, "limit", 1, 1000))
        query.limit = static_cast<std::size_t>(*limit);
    if (const auto* cursor = request.query("cursor")) query.cursor = *cursor;
    if (const auto* runtime = request.query("runtime")) query.runtime = *runtime;
    if (const auto* status = request.query("status")) {
        detail::decode_into(query.status.emplace(), Value(*status), detail::Path{nullptr, "status"}, Field{},
                            Unknown::refuse);
    }
    if (const auto* label = request.query("label")) {
        const auto equals = label->find('=');
        if (equals == std::string::npos || equals == 0) {
            throw Error(Code::invalid, "query parameter 'label' must be KEY=VALUE");
        }
        query.labels.emplace_back(label->substr(0, equals), label->substr(equals + 1));
    }
    return query;
}

std::string percent_encode(const std::string& text) {
    std::string encoded;
    Poco::URI::encode(text, "&=+#?/:;,", encoded);
    return encoded;
}

/// The target of the next page: this one's, with the cursor in place of the old one.
std::string next_link(const http::Request& request, const std::string& cursor) {
    std::string link = request.path();
    char separator = '?';
    for (const auto& [name, value] : request.queries()) {
        if (name == "cursor") continue;
        link += separator;
        link += name + "=" + percent_encode(value);
        separator = '&';
    }
    return fmt::format("{}{}cursor={}", link, separator, percent_encode(cursor));
}

}  // namespace

http::Reply create(Services& services, http::Request& request) {
    CreateBody body;
    // What a create that names no size gets; a null asks for no limit.
    body.spec.cpus = 2;
    body.spec.memory_mb = 1024;
    detail::decode_into(body, request.json(), detail::Path{}, Field{}, Unknown::refuse);
    CreateRequest create{body.name, local_owner, body.runtime, std::move(body.spec)};
    return answer(request, services.instances.create(std::move(create), {}, change_of(request)), 201);
}

http::Reply list(Services& services, http::Request& request) {
    ListPage page = services.instances.list(list_query(request));
    auto reply = http::json_text(200, page.body);
    if (page.next)
        reply.headers.emplace_back("Link", fmt::format("<{}>; rel=\"next\"", next_link(request, *page.next)));
    return reply;
}

http::Reply get(Services& services, http::Request& request) {
    return http::json_text(200, services.instances.get(instance_key(request))->json);
}

http::Reply destroy(Services& services, http::Request& request) {
    return answer(request, services.instances.destroy(instance_key(request), change_of(request)), 200);
}

http::Reply start(Services& services, http::Request& request) {
    return answer(request, services.instances.start(instance_key(request), change_of(request)), 200);
}

http::Reply stop(Services& services, http::Request& request) {
    const auto body = body_of<StopBody>(request);
    return answer(request, services.instances.stop(instance_key(request), body.options(), change_of(request)),
                  200);
}

http::Reply restart(Services& services, http::Request& request) {
    const auto body = body_of<StopBody>(request);
    return answer(request,
                  services.instances.restart(instance_key(request), body.options(), change_of(request)), 200);
}

http::Reply pause(Services& services, http::Request& request) {
    return answer(request, services.instances.pause(instance_key(request), change_of(request)), 200);
}

http::Reply resume(Services& services, http::Request& request) {
    return answer(request, services.instances.resume(instance_key(request), change_of(request)), 200);
}

http::Reply resize(Services& services, http::Request& request) {
    const auto spec = body_of<ResizeSpec>(request);
    if (!spec.cpus && !spec.memory_mb && !spec.disk_gb) {
        throw Error(Code::invalid, "nothing to resize", "name at least one of cpus, memory_mb, disk_gb");
    }
    return answer(request, services.instances.resize(instance_key(request), spec, change_of(request)), 200);
}

http::Reply rename(Services& services, http::Request& request) {
    const auto body = body_of<NewNameBody>(request);
    check_name(body.new_name, "new_name");
    return answer(request,
                  services.instances.rename(instance_key(request), body.new_name, change_of(request)), 200);
}

http::Reply copy(Services& services, http::Request& request) {
    const auto body = body_of<NewNameBody>(request);
    return answer(request, services.instances.copy(instance_key(request), body.new_name, change_of(request)),
                  201);
}

http::Reply status(Services& services, http::Request& request) {
    const CallerGone gone(request.client);
    const CallLimits limits{std::chrono::steady_clock::now() + std::chrono::seconds(10), gone.fd()};
    Value reply = Value::object({{"status", "ok"}});
    const Value stats = encode(services.instances.stats(instance_key(request), limits));
    for (const auto& [name, value] : *stats.if_object()) reply.set(name, value);
    return http::json(200, reply);
}

http::Reply diagnosis(Services& services, http::Request& request) {
    return http::json(200, services.instances.diagnosis(instance_key(request)));
}

http::Reply logs(Services& services, http::Request& request) {
    const LogsSpec spec{query_integer(request, "tail", 0, 10'000'000), query_flag(request, "follow")};
    const InstanceKey key = instance_key(request);
    return stream_from(request, "text/plain; charset=utf-8",
                       spec.follow ? Lasts::for_ever : Lasts::to_its_end,
                       [&services, key, spec](Fd out, int cancel_fd) {
                           services.instances.logs(key, spec, std::move(out), {SteadyTime::max(), cancel_fd});
                       });
}

http::Reply read_files(Services& services, http::Request& request) {
    const std::string path = path_of(request);
    const InstanceKey key = instance_key(request);
    return stream_from(
        request, "application/x-tar", Lasts::to_its_end, [&services, key, path](Fd out, int cancel_fd) {
            services.instances.read_files(key, path, std::move(out), {SteadyTime::max(), cancel_fd});
        });
}

http::Reply write_files(Services& services, http::Request& request) {
    const std::string path = path_of(request);
    const InstanceKey key = instance_key(request);
    FdPair pipe = make_pipe();
    Upload upload(request, std::move(pipe.second));
    try {
        services.instances.write_files(key, path, std::move(pipe.first),
                                       {SteadyTime::max(), upload.broken_fd()});
    } catch (...) {
        upload
            .finish();  // what it failed with comes first: the runtime can only say that something is missing
        throw;
    }
    upload.finish();
    return http::json(200, Value::object({{"path", path}}));
}

http::Reply snapshots(Services& services, http::Request& request) {
    const CallerGone gone(request.client);
    const CallLimits limits{std::chrono::steady_clock::now() + std::chrono::seconds(30), gone.fd()};
    return http::json(200, encode(services.instances.snapshots(instance_key(request), limits)));
}

http::Reply create_snapshot(Services& services, http::Request& request) {
    const auto spec = body_of<SnapshotSpec>(request);
    check_name(spec.name);
    return answer(request,
                  services.instances.create_snapshot(instance_key(request), spec, change_of(request)), 201);
}

http::Reply restore_snapshot(Services& services, http::Request& request) {
    const std::string& snapshot = request.param("snapshot");
    check_name(snapshot, "snapshot");
    return answer(request,
                  services.instances.restore_snapshot(instance_key(request), snapshot, change_of(request)),
                  200);
}

http::Reply delete_snapshot(Services& services, http::Request& request) {
    const std::string& snapshot = request.param("snapshot");
    check_name(snapshot, "snapshot");
    return answer(request,
                  services.instances.delete_snapshot(instance_key(request), snapshot, change_of(request)),
                  200);
}

Value create_schema() { return schema_of<CreateBody>(); }
Value stop_schema() { return schema_of<StopBody>(); }
Value new_name_schema() { return schema_of<NewNameBody>(); }
Value stats_schema() { return schema_of<Stats>(); }
Value snapshots_schema() { return schema_of<std::vector<SnapshotInfo>>(); }

Value object_schema() {
    const Value facts = schema_of<InstanceFacts>()["properties"];
    const Value spec = schema_of<InstanceSpec>()["properties"];
    // The object is written by make_view(): what the runtime says, then what was asked for, then core's own.
    // A view of an empty row has every member.
    const Value document = view_document(*make_view(InstanceRow{}));
    Value properties = Value::object();
    for (const auto& [name, value] : *document.if_object()) {
        const Value* known = facts.find(name) != nullptr ? facts.find(name) : spec.find(name);
        properties.set(name, known != nullptr ? *known : Value::object({{"type", "string"}}));
    }
    return Value::object({{"type", "object"}, {"properties", std::move(properties)}});
}

Value objects_schema() { return Value::object({{"type", "array"}, {"items", object_schema()}}); }

}  // namespace minions::core::api::vms
