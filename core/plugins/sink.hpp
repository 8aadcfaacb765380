#pragma once

#include "core/plugins/runtimes.hpp"

#include <string_view>

namespace minions::core {

/// What plugins say outside of any call. Called from threads of transports, several at once; may call
/// runtimes. Outlives every runtime.
class PluginSink {
  public:
    virtual ~PluginSink() = default;

    virtual void on_log(std::string_view runtime, LogLevel level, std::string_view message) = 0;
    /// Returns once the event is committed or dropped.
    virtual void on_event(const RuntimeHandle& runtime, const InstanceEvent& event) = 0;
    virtual void on_health_changed(const RuntimeHandle& runtime) = 0;
};

}  // namespace minions::core
