#pragma once

#include <minions/value.hpp>

#include <cstdint>
#include <string>

namespace minions::core {

/// Something that happened, as clients of the event stream see it. Immutable once committed.
struct Event {
    std::int64_t id = 0;  ///< grows by one with each event; assigned by the commit that changed the state
    std::string time;     ///< RFC 3339 UTC
    std::string type;     ///< "instance.running", "operation.finished", "runtime.health", …
    std::string subject;  ///< name of the instance, id of the operation, name of the runtime, …
    Value data;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("id", self.id);
        visit("time", self.time);
        visit("type", self.type);
        visit("subject", self.subject);
        visit("data", self.data);
    }
};

}  // namespace minions::core
