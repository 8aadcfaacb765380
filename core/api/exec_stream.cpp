#include "core/api/exec_stream.hpp"

#include "core/api/exec_pump.hpp"
#include "core/api/helpers.hpp"
#include "core/http/websocket.hpp"

#include <minions/base/deadline.hpp>

#include <fmt/format.h>

#include <exception>
#include <thread>

namespace minions::core::api {
namespace {

using websocket::Broken;
using websocket::Opcode;
namespace close_code = websocket::close_code;

constexpr std::string_view protocol = "minions.exec.v1";
constexpr std::size_t max_message = std::size_t{1} << 20;
constexpr auto first_message_timeout = std::chrono::seconds(30);
constexpr auto goodbye_timeout = std::chrono::seconds(5);

struct StreamBody {
    ExecSpec spec;
    bool input = false;
    std::optional<double> timeout_seconds;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        ExecSpec::fields(self.spec, visit);
        visit("stdin", self.input);
        visit("timeout_seconds", self.timeout_seconds, Field{.min = 0, .max = 2592000});
    }
    SteadyTime deadline() const {
        if (!timeout_seconds) return SteadyTime::max();
        return deadline_in(std::chrono::milliseconds(static_cast<std::int64_t>(*timeout_seconds * 1000)));
    }
};

StreamBody read_body(websocket::Socket& socket, int gone_fd) {
    const auto message = first_message(socket, gone_fd, deadline_in(first_message_timeout));
    refuse_close(message);
    if (message.opcode != Opcode::text)
        throw Broken(close_code::unsupported_data, "the first message is text and says what to run");
    Value document;
    try {
        document = parse_json(message.payload, {32, max_message});
    } catch (const Error& error) {
        throw Broken(close_code::invalid_data, error.message());
    }
    auto body = decode<StreamBody>(document);
    if (body.spec.command.empty()) throw Error(Code::invalid, "field 'command' must not be empty");
    return body;
}

/// The call into the runtime, on a thread of its own.
class Call {
  public:
    explicit Call(std::function<ExecEnd()> run)
        : thread_([this, run = std::move(run)] {
              try {
                  end_ = run();
              } catch (...) {
                  failure_ = std::current_exception();
              }
              done_.raise();
          }) {}
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    ~Call() {
        if (thread_.joinable()) thread_.join();
    }
    int done_fd() const noexcept { return done_.fd(); }
    /// Waits for it, and throws what it threw.
    ExecEnd end() {
        thread_.join();
        if (failure_) std::rethrow_exception(failure_);
        return end_;
    }

  private:
    EventFd done_;
    ExecEnd end_;
    std::exception_ptr failure_;
    std::thread thread_;  // last: it fills the others
};

Error too_late(const StreamBody& body) {
    return {Code::deadline, fmt::format("the command did not end within {} seconds", *body.timeout_seconds),
            "give it more with 'timeout_seconds'"};
}

/// Runs the command; the exit record.
Value run_command(Services& services, const InstanceKey& key, const StreamBody& body,
                  websocket::Socket& socket, CallerGone& gone) {
    ExecPump pump(socket, gone.fd());
    ExecStreams streams = pump.open(body.input, body.spec.tty);
    const CallLimits limits{body.deadline(), gone.fd()};
    Call call([&, streams = std::make_shared<ExecStreams>(std::move(streams))] {
        return services.instances.exec(key, body.spec, std::move(*streams), limits);
    });
    bool complete = false;
    try {
        complete = pump.run(call.done_fd());
    } catch (...) {
        gone.raise();
        pump.close();
        throw;
    }
    try {
        Value record = encode(call.end());
        if (!complete) record.set("truncated", true);
        return record;
    } catch (const Error& error) {
        if (error.code() == Code::deadline && body.timeout_seconds) throw too_late(body);
        throw;
    }
}

Value record_of(const Error& error) {
    Value record = Value::object({{"error", error.message()}, {"code", minions::to_word(error.code())}});
    if (!error.hint().empty()) record.set("hint", error.hint());
    return record;
}

void run(Services& services, const InstanceKey& key, const std::shared_ptr<http::Client>& client,
         websocket::Socket& socket) {
    const auto end_with = [&](const Value& record) {
        const CallerGone gone(client);
        socket.send_text(to_json(record));
        socket.send_close(close_code::normal, "");
        send_rest(socket, gone.fd());
        socket.finish(close_code::normal, "", deadline_in(goodbye_timeout));
    };
    try {
        try {
            const StreamBody body = read_body(socket, CallerGone(client, Lasts::for_ever).fd());
            // Nobody who sits at a terminal ends in time for a daemon that stops.
            CallerGone gone(client, body.spec.tty ? Lasts::for_ever : Lasts::to_its_end);
            end_with(run_command(services, key, body, socket, gone));
        } catch (const Error& error) {
            end_with(record_of(error));
        }
    } catch (const Broken& broken) {
        socket.finish(broken.code(), broken.what(), deadline_in(goodbye_timeout));
    } catch (const ClientGone& gone_with) {
        socket.finish(gone_with.code, "", deadline_in(std::chrono::milliseconds(0)));
    }
}

}  // namespace

http::Reply exec_stream(Services& services, http::Request& request) {
    if (auto refusal = http::refuse_websocket(request, protocol)) return *std::move(refusal);
    const InstanceKey key = instance_key(request);
    services.instances.check_exec(key);
    return http::websocket(request, protocol, max_message,
                           [&services, key, client = request.client](websocket::Socket& socket) {
                               run(services, key, client, socket);
                           });
}

}  // namespace minions::core::api
