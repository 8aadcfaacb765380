#pragma once

#include "call_context.hpp"

#include <minions/base/sync.hpp>
#include <minions/plugin.hpp>

#include <memory>
#include <unordered_map>

namespace minions::detail {

/// The result of a method: a document and at most one descriptor.
struct MethodResult {
    Value value = Value::object();
    Fd fd;
};

/// What a method of the seam gets.
struct MethodCall {
    Context& context;
    seam::InstanceCall parameters;
    std::vector<Fd> fds;

    /// The instance; throws invalid where the message has none.
    const Instance& instance() const;
    /// The spec as T. Unknown members are ignored: core may be newer than the plugin.
    template <class T>
    T spec() const {
        return decode<T>(parameters.spec, Unknown::ignore);
    }
    const std::string& name() const;
    /// The descriptor at that place; throws invalid where fewer were passed.
    Fd take(std::size_t index);
};

/// Calls the interface that the method of the message belongs to. Throws unsupported_by_runtime for a method
/// or facet that the runtime does not have.
MethodResult call_method(const FacetTable& table, const std::string& method, MethodCall& call);

/// One opened plugin: turns messages into calls of its runtime object.
class Dispatcher {
  public:
    explicit Dispatcher(std::unique_ptr<PluginHost> host) : host_(std::move(host)) {}

    /// Called once, before the first call.
    void attach(const FacetTable& table) { table_ = table; }
    Host& host() { return *host_; }

    /// The minions_plugin::call of every plugin; `self` is a Dispatcher.
    static void call_from_host(void* self, std::uint64_t call_id, const char* data, std::size_t size,
                               const int* fds, std::size_t fd_count, minions_reply_fn reply, void* sink);

  private:
    MethodResult serve(std::uint64_t call_id, std::string_view message, std::vector<Fd> fds);
    bool cancel(std::uint64_t call_id);

    std::unique_ptr<PluginHost> host_;
    FacetTable table_;
    Sync<std::unordered_map<std::uint64_t, CallContext*>> calls_;
};

/// Sends {"r": value} or, with `error`, {"e": error}.
void send_reply(minions_reply_fn reply, void* sink, const MethodResult& result);
void send_error(minions_reply_fn reply, void* sink, const Error& error) noexcept;

}  // namespace minions::detail
