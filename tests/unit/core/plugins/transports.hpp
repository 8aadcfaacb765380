#pragma once

#include "support.hpp"

namespace minions::core::testing {

/// The null runtime behind one of the transports, opened.
class NullPlugin {
  public:
    enum class Over { calls, socketpair };

    explicit NullPlugin(Over over, Value config = Value::object(), ClientTimes times = {}) {
        const auto* plugin = minions_plugin_entry();
        client = std::make_unique<RuntimeClient>(
            read_description(plugin), sink,
            [&](HostHandler handler) -> std::unique_ptr<Transport> {
                if (over == Over::calls)
                    return std::make_unique<InProcessTransport>(*plugin, std::move(handler));
                ChildOptions options;
                options.program = "/proc/self/exe";
                options.plugin = MINIONS_NULL_SO;
                auto made = std::make_unique<ChildTransport>(std::move(options), std::move(handler));
                child = made->pid();
                return made;
            },
            times);
        seam::Open parameters;
        parameters.config = std::move(config);
        parameters.installation = "test";
        client->open(parameters, deadline_in(seconds(20)));
    }

    RuntimeClient& operator*() { return *client; }
    RuntimeClient* operator->() { return client.get(); }

    RecordingSink sink;
    std::unique_ptr<RuntimeClient> client;
    pid_t child = -1;
};

}  // namespace minions::core::testing
