#include "connection.hpp"
#include "socket.hpp"

#include <minions/base/sync.hpp>
#include <minions/error.hpp>
#include <minions/http_client/client.hpp>

#include <algorithm>
#include <cctype>
#include <utility>

namespace minions::http {

/// Idle connections, the latest used last.
class Pool {
  public:
    explicit Pool(std::size_t max) : max_(max) {}

    std::unique_ptr<Connection> take() {
        for (;;) {
            std::unique_ptr<Connection> found;
            {
                const auto idle = idle_.lock();
                if (idle->empty()) return nullptr;
                found = std::move(idle->back());
                idle->pop_back();
            }
            if (found->idle()) return found;
        }
    }

    void give(std::unique_ptr<Connection> connection) {
        connection->mark_reused();
        const auto idle = idle_.lock();
        if (idle->size() < max_) idle->push_back(std::move(connection));
    }

    bool used() const { return max_ > 0; }

  private:
    const std::size_t max_;
    Sync<std::vector<std::unique_ptr<Connection>>> idle_;
};

namespace {

bool same(std::string_view a, std::string_view b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

bool idempotent(const Request& request) {
    constexpr std::string_view methods[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS"};
    return !request.source &&
           std::find(std::begin(methods), std::end(methods), request.method) != std::end(methods);
}

std::string host_header(const Endpoint& endpoint) {
    if (!endpoint.unix_path.empty()) return "localhost";
    const bool ipv6 = endpoint.host.find(':') != std::string::npos;
    return (ipv6 ? "[" + endpoint.host + "]" : endpoint.host) + ":" + std::to_string(endpoint.port);
}

}  // namespace

Endpoint Endpoint::unix_socket(std::string path) { return {std::move(path), "localhost", 0, {}}; }
Endpoint Endpoint::tcp(std::string host, std::uint16_t port) { return {{}, std::move(host), port, {}}; }
std::string Endpoint::to_string() const { return unix_path.empty() ? host_header(*this) : unix_path; }

std::string_view Response::header(std::string_view name) const noexcept {
    for (const auto& [each, value] : headers) {
        if (same(each, name)) return value;
    }
    return {};
}

Stream::Stream(Response head, std::unique_ptr<Connection> connection, std::shared_ptr<Pool> pool)
    : head_(std::move(head)), connection_(std::move(connection)), pool_(std::move(pool)) {
    if (connection_->at_end()) finish();
}
Stream::Stream(Stream&&) noexcept = default;
Stream& Stream::operator=(Stream&&) noexcept = default;
Stream::~Stream() = default;

void Stream::finish() {
    std::unique_ptr<Connection> connection = std::move(connection_);
    if (connection->reusable() && pool_->used()) pool_->give(std::move(connection));
}

std::size_t Stream::read(char* data, std::size_t size) {
    if (!connection_ || size == 0) return 0;
    const std::size_t got = connection_->read_body(data, size);
    if (connection_->at_end()) finish();
    return got;
}

void Stream::set_deadline(Deadline deadline) noexcept {
    if (connection_) connection_->set_deadline(deadline);
}

std::string Stream::read_all(std::size_t max) {
    std::string body;
    char buffer[16384];
    while (const std::size_t got = read(buffer, sizeof buffer)) {
        if (got > max - body.size()) {
            connection_.reset();
            throw Error{Code::too_large, "a reply has a body of more than " + std::to_string(max) + " bytes"};
        }
        body.append(buffer, got);
    }
    return body;
}

Hijacked Stream::hijack() {
    if (!connection_ || !connection_->can_hijack()) {
        throw Error{Code::internal, "the server answered " + std::to_string(head_.status) +
                                        " and did not give the connection up"};
    }
    return std::exchange(connection_, nullptr)->hijack();
}

Client::Client(Endpoint endpoint, std::size_t max_idle)
    : endpoint_(std::move(endpoint)), pool_(std::make_shared<Pool>(max_idle)) {}
Client::~Client() = default;

Stream Client::open(const Request& request, const Call& call) const {
    const std::string where = endpoint_.to_string();
    const std::string host = host_header(endpoint_);
    std::unique_ptr<Connection> connection = pool_->take();
    if (connection) {
        try {
            Response head = connection->exchange(request, host, call);
            return {std::move(head), std::move(connection), pool_};
        } catch (const ClosedBeforeReply&) {
            if (!idempotent(request)) {
                throw Error{Code::unavailable, where + " closed the connection without a reply", "", true};
            }
        }
    }
    connection = std::make_unique<Connection>(connect_to(endpoint_, call), where, false);
    try {
        Response head = connection->exchange(request, host, call);
        return {std::move(head), std::move(connection), pool_};
    } catch (const ClosedBeforeReply&) {
        throw Error{Code::unavailable, where + " closed the connection without a reply", "", true};
    }
}

Response Client::request(const Request& request, const Call& call, std::size_t max_body) const {
    Stream stream = open(request, call);
    std::string body = stream.read_all(max_body);
    Response response = stream.head();
    response.body = std::move(body);
    return response;
}

}  // namespace minions::http
