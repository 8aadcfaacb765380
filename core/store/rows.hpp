#pragma once

#include <minions/types.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

/// Rows of the database as values. Times are RFC 3339 UTC; an absent time is nullopt.
namespace minions::core {

/// An instance as it was last committed. `status` is what was last known, never `unknown`: that is derived.
struct InstanceRow {
    std::string id;
    std::string owner;
    std::string name;
    std::string runtime;
    Status status = Status::creating;
    std::uint64_t boot = 0;
    std::string created_at;
    InstanceSpec spec;  ///< its environment is encrypted in the file
    std::optional<RuntimeState> state;
    InstanceFacts facts;  ///< facts.status is the runtime's word, `status` is ours
};

enum class OperationStatus { running, succeeded, failed, cancelled };

/// An operation, in the shape in which the API shows it.
struct OperationRow {
    std::string id;
    std::string kind;     ///< "instance.create", "instance.stop", "deployment.deploy", …
    std::string subject;  ///< the name (instance) or id (deployment) that it is about
    OperationStatus status = OperationStatus::running;
    std::string stage;
    std::string created_at;
    std::optional<std::string> finished_at;
    Value error;   ///< null, or encode_error()
    Value result;  ///< null until it succeeded
    std::string owner;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit);
};

/// A journal row with what core adds to it.
struct JournalRecord {
    JournalRow row;
    std::string runtime;    ///< whose release() undoes it
    std::string operation;  ///< that made it, or empty
    std::string created_at;
};

/// A bearer token. The token itself is never stored.
struct TokenRow {
    std::string id;
    std::string hash;  ///< lower-case hex of SHA-256
    std::string name;
    std::string scope;
    std::string last4;
    std::string created_at;
    std::optional<std::string> expires_at;
};

struct IdempotencyRow {
    std::string owner;
    std::string key;
    std::string route;
    std::string body_hash;
    std::string operation;
    std::string expires_at;
};

/// One deploy call. Holds no secret: `request` is what was asked for without token, key path and the values
/// of the environment.
struct DeploymentRow {
    std::string id;
    std::string owner;
    std::string agent_name;
    std::string instance;  ///< id, empty until there is one; may be of an instance that is gone
    std::string container_name;
    std::string repo_url;
    std::string branch;
    std::string status;  ///< a word of deployments' own
    std::string stage;
    Value error;  ///< null, or encode_error()
    std::string image;
    std::string created_at;
    std::optional<std::string> finished_at;
    Value request;
};

/// A VM image, with the text of its manifest.
struct ImageRow {
    std::string id;  ///< "sha256:…"
    std::string created_at;
    std::string manifest;
};

/// A name of an image; one may have several.
struct ImageTagRow {
    std::string owner;
    std::string name;
    std::string image;  ///< id
    std::string created_at;
};

/// Why the last create of a name failed, or how its instance broke.
struct DiagnosisRow {
    std::string owner;
    std::string name;
    std::string time;
    Value document;  ///< {"id","operation","stage","error","timings","log_tail"}
};

template <class Self, class Visit>
void OperationRow::fields(Self& self, Visit&& visit) {
    visit("id", self.id, Field{.required = true});
    visit("kind", self.kind);
    visit("subject", self.subject);
    visit("status", self.status);
    visit("stage", self.stage);
    visit("created_at", self.created_at);
    visit("finished_at", self.finished_at);
    visit("error", self.error);
    visit("result", self.result);
}

}  // namespace minions::core

namespace minions {
template <>
struct EnumWords<core::OperationStatus> {
    static constexpr std::string_view words[] = {"running", "succeeded", "failed", "cancelled"};
};
}  // namespace minions
