#pragma once

#include <minions/abi.h>
#include <minions/base/fd.hpp>
#include <minions/context.hpp>
#include <minions/seam.hpp>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace minions::detail {

/// Calls from the plugin to its host. Thread-safe.
class HostLink {
  public:
    explicit HostLink(const minions_host* host) : host_(host) {}

    struct Answer {
        Value value;
        std::vector<Fd> fds;
    };
    /// Sends one request on behalf of the plugin call `serves` (0: none) and returns the result. Throws the
    /// error that the host replied.
    Answer ask(std::uint64_t serves, const char* method, Value parameters, std::vector<Fd> pass = {}) const;
    /// The same for methods that pass no descriptors.
    Value call(std::uint64_t serves, const char* method, Value parameters) const {
        return ask(serves, method, std::move(parameters)).value;
    }
    /// The host method `log`; a line that cannot be delivered is lost, since a plugin's own threads log until
    /// the process ends, with nobody to catch what they throw.
    void log(std::uint64_t serves, LogLevel level, std::string_view message) const noexcept;

  private:
    const minions_host* host_;
};

/// The Host that a runtime object is made with.
class PluginHost final : public Host {
  public:
    PluginHost(const minions_host* host, std::string installation, Directories directories)
        : link_(host), installation_(std::move(installation)), directories_(std::move(directories)) {}

    void log(LogLevel level, std::string_view message) noexcept override { link_.log(0, level, message); }
    void report(const InstanceEvent& event) noexcept override;
    void health_changed() noexcept override;
    const std::string& installation() const override { return installation_; }
    const Directories& directories() const override { return directories_; }

    const HostLink& link() const { return link_; }

  private:
    HostLink link_;
    std::string installation_;
    Directories directories_;
};

}  // namespace minions::detail
