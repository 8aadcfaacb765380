#pragma once

#include "plugins/cloudhv/requests.hpp"

#include <minions/context.hpp>
#include <minions/http_client/client.hpp>

#include <string>

namespace minions::cloudhv {

/// A reply that has been read whole.
struct ApiReply {
    int status = 0;
    std::string body;

    bool ok() const noexcept { return status >= 200 && status < 300; }
    /// What the VMM says of an error, from the general to the particular: "The VM could not boot: …".
    std::string message() const;
};

/// Cloud Hypervisor's API over its Unix socket, a connection for each request: the VMM serves one request
/// after the other, and keeps who has connected too early waiting until it runs.
class Api {
  public:
    /// `timeout` bounds requests that a VMM in good order answers at once.
    Api(const std::string& socket, milliseconds timeout);

    /// Throws Error: unavailable (nobody listens, the VMM went away, it does not answer in time), cancelled,
    /// deadline.
    ApiReply call(const Context& ctx, const ApiRequest& request) const;
    /// For what has to succeed. Throws Error{failed} about `what` with what the VMM said, too.
    Value expect(const Context& ctx, const char* what, const ApiRequest& request) const;
    /// As expect(), for what takes as long as the machine has memory: ctx alone bounds it.
    Value expect_long(const Context& ctx, const char* what, const ApiRequest& request) const;

  private:
    ApiReply send(const Context& ctx, const ApiRequest& request, SteadyTime until) const;

    http::Client client_;
    milliseconds timeout_;
};

}  // namespace minions::cloudhv
