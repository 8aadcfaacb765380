#include "core/api/helpers.hpp"

#include "core/access/token.hpp"

#include <minions/base/deadline.hpp>
#include <minions/base/sync.hpp>

#include <fmt/format.h>

#include <charconv>
#include <exception>
#include <thread>

namespace minions::core::api {

InstanceKey instance_key(const http::Request& request) {
    const std::string& name = request.param("name");
    check_name(name);
    return {name, local_owner};
}

bool query_flag(const http::Request& request, std::string_view name) {
    const std::string* text = request.query(name);
    if (text == nullptr || *text == "0" || *text == "false") return false;
    if (*text == "1" || *text == "true") return true;
    throw Error(Code::invalid, fmt::format("query parameter '{}' must be 1 or 0", name));
}

std::optional<std::int64_t> query_integer(const http::Request& request, std::string_view name,
                                          std::int64_t min, std::int64_t max) {
    const std::string* text = request.query(name);
    if (text == nullptr) return std::nullopt;
    std::int64_t number = 0;
    const char* end = text->data() + text->size();
    const auto [stop, error] = std::from_chars(text->data(), end, number);
    if (error != std::errc() || stop != end || number < min || number > max) {
        throw Error(Code::invalid,
                    fmt::format("query parameter '{}' must be an integer between {} and {}", name, min, max));
    }
    return number;
}

std::optional<Idempotency> idempotency_of(const http::Request& request) {
    const auto key = request.header("Idempotency-Key");
    if (!key) return std::nullopt;
    if (key->empty() || key->size() > 255) {
        throw Error(Code::invalid, "header 'Idempotency-Key' must have 1 to 255 bytes");
    }
    return Idempotency{std::string(*key), fmt::format("{} {}", request.method(), request.path()),
                       hash_token(request.body)};
}

CallerGone::CallerGone(const std::shared_ptr<http::Client>& client, Lasts lasts)
    : watch_(http::Client::watch(client, [this, lasts, told = client.get()] {
          if (lasts == Lasts::for_ever ? told->should_end() : told->gone()) event_.raise();
      })) {}

bool wants_async(const http::Request& request) { return request.header_lists("Prefer", "respond-async"); }

http::Reply accepted(const OperationPtr& operation) {
    auto reply = http::json(202, encode(operation->row()));
    reply.headers.emplace_back("Location", "/api/operations/" + operation->id());
    reply.headers.emplace_back("Preference-Applied", "respond-async");
    return reply;
}

http::Reply answer(http::Request& request, const OperationPtr& operation, int status) {
    if (wants_async(request)) return accepted(operation);
    const CallerGone gone(request.client);
    return http::json(status, operation->wait(gone.fd()));
}

namespace {

/// A producer on a thread of its own, whose exception waits for who reads the other end of its pipe.
class Producer {
  public:
    Producer(std::function<void(Fd, int)> produce, Fd out, int cancel_fd)
        : thread_([this, produce = std::move(produce), out = std::move(out), cancel_fd]() mutable {
              try {
                  produce(std::move(out), cancel_fd);
              } catch (...) {
                  *failure_.lock() = std::current_exception();
              }
          }) {}
    ~Producer() {
        if (thread_.joinable()) thread_.join();
    }
    /// Joins, and throws what the producer threw.
    void finish() {
        thread_.join();
        if (const auto failure = *failure_.lock()) std::rethrow_exception(failure);
    }

  private:
    Sync<std::exception_ptr> failure_;
    std::thread thread_;
};

void pump(http::Stream& stream, int from, int gone, Lasts lasts, Producer& producer) {
    char buffer[64 << 10];
    pollfd waits[] = {{from, POLLIN, 0}, {gone, POLLIN, 0}};
    // What has nothing to say yet may still fail. Who follows is told after a moment that it is connected.
    auto begin = lasts == Lasts::for_ever ? deadline_in(std::chrono::milliseconds(300)) : no_deadline;
    while (true) {
        if (poll_until(waits, 2, begin) == 0) {
            stream.start();
            begin = no_deadline;
            continue;
        }
        if (waits[1].revents != 0) throw Error(Code::cancelled, "the client has gone");
        const ssize_t got = ::read(from, buffer, sizeof buffer);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) throw error_from_errno(errno, "cannot read output");
        if (got == 0) break;
        stream.write({buffer, static_cast<std::size_t>(got)});
        begin = no_deadline;
    }
    producer.finish();
    stream.start();
}

}  // namespace

http::Reply stream_from(http::Request& request, std::string content_type, Lasts lasts,
                        std::function<void(Fd, int cancel_fd)> produce) {
    auto client = request.client;
    return http::stream(200, std::move(content_type),
                        [client, lasts, produce = std::move(produce)](http::Stream& stream) {
                            CallerGone gone(client, lasts);
                            FdPair pipe = make_pipe();
                            Producer producer(produce, std::move(pipe.second), gone.fd());
                            try {
                                pump(stream, pipe.first.get(), gone.fd(), lasts, producer);
                            } catch (...) {
                                gone.raise();
                                pipe.first.reset();  // a producer that writes gets EPIPE
                                throw;
                            }
                        });
}

}  // namespace minions::core::api
