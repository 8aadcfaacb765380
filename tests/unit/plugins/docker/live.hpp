#pragma once

#include "plugins/docker/runtime.hpp"
#include "tests/unit/plugins/support.hpp"

#include <catch2/catch.hpp>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace minions::docker::test {

using namespace minions::test;

/// What Podman 4.3 does not do, and why.
struct Lack {
    std::string_view what;
    const char* why;
};
constexpr Lack podman_lacks[] = {
    {"resize", "its compatible API has no call to update a container"},
    {"cpus", "it does not compare a limit with the CPUs that there are"},
    {"unpacking into nothing", "it makes the directory that an archive is unpacked into"},
    {"step lines", "its build log has words of its own"},
    {"health checks", "it leaves them to systemd's timers, and there is no systemd where the tests run"},
};

/// A runtime on the engine of MINIONS_TEST_DOCKER_SOCKET, as an installation of its own; what a test leaves
/// is removed with it.
class Live {
  public:
    static std::string socket() {
        const char* named = std::getenv("MINIONS_TEST_DOCKER_SOCKET");
        return named == nullptr ? "" : named;
    }
    static std::string unique(const std::string& prefix) {
        static std::atomic<int> count{0};
        return prefix + "-" + std::to_string(::getpid()) + "-" + std::to_string(++count);
    }
    static Config config() {
        Config config;
        config.socket = socket();
        return config;
    }

    Live() : host(unique("live")), runtime(host, config()), engine_(config()) {}
    ~Live() {
        const std::string filter = R"({"label":["minions.installation=)" + host.installation() + R"("]})";
        const Reply left = raw("GET", "/containers/json?all=1&filters=" + encoded(filter));
        const Value document = left.document();
        if (const auto* elements = document.if_array()) {
            for (const auto& element : *elements) {
                raw("DELETE", "/containers/" + element["Id"].string_or("") + "?force=1&v=1");
            }
        }
    }

    /// Whether the engine does not do a thing; says so, with the reason.
    bool lacks(std::string_view what) {
        if (!engine_.spoken(Patience::for_cleanup(60s)).podman) return false;
        const auto* lack = std::find_if(std::begin(podman_lacks), std::end(podman_lacks),
                                        [&](const Lack& each) { return each.what == what; });
        if (lack == std::end(podman_lacks)) return false;
        WARN("skipped on Podman: " << what << ", as " << lack->why);
        return true;
    }

    Reply raw(const std::string& method, const std::string& path, const Value& body = {}) {
        return engine_.call(Patience::for_cleanup(60s), method, path, body);
    }

    template <class... Arguments>
    Instance instance(Arguments... arguments) {
        Instance made;
        made.id = unique("i");
        made.name = unique("minions-test");
        made.owner = "local";
        made.boot = 1;
        made.spec.image = "python:3.11-slim";
        made.spec.command = {arguments...};
        return made;
    }
    template <class... Arguments>
    Instance created(TestContext& ctx, Arguments... arguments) {
        Instance made = instance(arguments...);
        made.state = runtime.create(ctx, made);
        return made;
    }
    template <class... Arguments>
    Instance running(TestContext& ctx, Arguments... arguments) {
        Instance made = created(ctx, arguments...);
        runtime.start(ctx, made);
        return made;
    }

    static std::string container(const Instance& instance) {
        return instance.state->data["container"].string_or("");
    }
    Value document(const Instance& instance) {
        return raw("GET", "/containers/" + container(instance) + "/json").document();
    }
    bool exists(const std::string& id) { return raw("GET", "/containers/" + id + "/json").ok(); }
    std::string make_stranger(const std::string& name) {
        return raw("POST", "/containers/create?name=" + name,
                   Value::object({{"Image", "python:3.11-slim"}, {"Cmd", Value::array({"true"})}}))
            .document()["Id"]
            .string_or("");
    }
    void remove_stranger(const std::string& id) { raw("DELETE", "/containers/" + id); }

    struct Done {
        ExecEnd end;
        std::string out;
        std::string err;
    };
    Done exec(TestContext& ctx, const Instance& instance, const ExecSpec& spec,
              const std::optional<std::string>& input = {}) {
        auto out = make_pipe();
        auto err = make_pipe();
        ExecStreams streams;
        streams.output = std::move(out.second);
        if (!spec.tty) streams.error = std::move(err.second);
        err.second.reset();
        Collected output(std::move(out.first));
        Collected error(std::move(err.first));
        std::thread feeder;
        if (input) {
            auto in = make_socketpair(SOCK_STREAM);
            streams.input = std::move(in.second);
            feeder = std::thread([text = *input, to = std::move(in.first)] {
                try {
                    put(to.get(), text);
                } catch (const std::exception&) {
                    // The command reads no more.
                }
            });
        }
        Done done;
        try {
            done.end = runtime.exec(ctx, instance, spec, std::move(streams));
        } catch (...) {
            if (feeder.joinable()) feeder.join();
            throw;
        }
        if (feeder.joinable()) feeder.join();
        done.out = output.text();
        done.err = error.text();
        return done;
    }
    std::string logs(TestContext& ctx, const Instance& instance, const LogsSpec& spec) {
        auto pipe = make_pipe();
        Collected text(std::move(pipe.first));
        runtime.logs(ctx, instance, spec, std::move(pipe.second));
        return text.text();
    }
    std::string read_files(TestContext& ctx, const Instance& instance, const std::string& path) {
        auto pipe = make_pipe();
        Collected text(std::move(pipe.first));
        runtime.read_files(ctx, instance, path, std::move(pipe.second));
        return text.text();
    }
    void write_files(TestContext& ctx, const Instance& instance, const std::string& path,
                     const std::string& tar) {
        auto pipe = make_pipe();
        std::thread feeder([&tar, to = std::move(pipe.second)] { put(to.get(), tar); });
        try {
            runtime.write_files(ctx, instance, path, std::move(pipe.first));
        } catch (...) {
            feeder.join();
            throw;
        }
        feeder.join();
    }

    struct Built {
        std::string image;
        std::string log;
    };
    /// Builds from one Dockerfile; cancels once the log has `cancel_at`.
    Built build(TestContext& ctx, const std::string& tag, const std::string& dockerfile,
                const std::string& cancel_at = {}) {
        auto source = make_pipe();
        auto log = make_pipe();
        Collected text(std::move(log.first));
        std::thread feeder(
            [tar = tar_of("Dockerfile", dockerfile), to = std::move(source.second)] { put(to.get(), tar); });
        std::thread canceller;
        if (!cancel_at.empty()) {
            canceller = std::thread([&] {
                text.saw("\n" + cancel_at);
                ctx.cancel();
            });
        }
        const auto join = [&] {
            feeder.join();
            if (canceller.joinable()) canceller.join();
        };
        BuildSpec spec;
        spec.tag = tag;
        spec.dockerfile = "Dockerfile";
        Built built;
        try {
            built.image = runtime.build(ctx, spec, std::move(source.first), std::move(log.second)).image;
        } catch (...) {
            join();
            throw;
        }
        join();
        built.log = text.text();
        return built;
    }
    /// Ids of all images, with those between.
    std::set<std::string> images() {
        std::set<std::string> ids;
        const Value document = raw("GET", "/images/json?all=1").document();
        for (const auto& image : *document.if_array()) ids.insert(image["Id"].string_or(""));
        return ids;
    }

    static int listen_on_loopback(const Fd& fd) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        auto* raw_address = reinterpret_cast<sockaddr*>(&address);
        if (::bind(fd.get(), raw_address, size) != 0 || ::listen(fd.get(), 1) != 0) return 0;
        ::getsockname(fd.get(), raw_address, &size);
        return ntohs(address.sin_port);
    }

    /// For what the engine does a little later on its own, and tells nobody.
    static bool eventually(const std::function<bool()>& condition) {
        const auto give_up = deadline_in(10s);
        while (!condition()) {
            if (Deadline::clock::now() > give_up) return false;
            poll_until(nullptr, 0, deadline_in(20ms));
        }
        return true;
    }

    /// A ustar archive of one small file.
    static std::string tar_of(const std::string& name, const std::string& text) {
        std::string header(512, '\0');
        const auto write = [&](std::size_t at, const std::string& field) {
            header.replace(at, field.size(), field);
        };
        char size[12];
        std::snprintf(size, sizeof size, "%011zo", text.size());
        write(0, name);
        write(100, "0000644");
        write(108, "0000000");
        write(116, "0000000");
        write(124, size);
        write(136, "00000000000");
        write(148, "        ");
        write(156, "0");
        write(257, "ustar");
        write(263, "00");
        unsigned sum = 0;
        for (const char c : header) sum += static_cast<unsigned char>(c);
        char checksum[8];
        std::snprintf(checksum, sizeof checksum, "%06o", sum);
        write(148, checksum);
        header[154] = '\0';
        std::string body = text;
        body.resize((text.size() + 511) / 512 * 512);
        return header + body + std::string(1024, '\0');
    }

    TestHost host;
    DockerRuntime runtime;

  private:
    Engine engine_;
};

}  // namespace minions::docker::test
