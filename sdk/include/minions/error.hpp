#pragma once

#include <minions/value.hpp>

#include <exception>
#include <string>
#include <string_view>

namespace minions {

/// What kind of failure it is. The words travel across the seam and in REST replies; core's one table gives
/// each its HTTP status.
enum class Code {
    invalid,          ///< a value that can never work; the message names the field
    unauthenticated,  ///< no credentials, or unknown ones
    forbidden,        ///< known, but not allowed
    not_found,
    method_not_allowed,
    conflict,                ///< the name or object exists already
    busy,                    ///< another operation runs on the instance; details hold its id
    wrong_state,             ///< not possible in the instance's present state
    unsupported_by_runtime,  ///< the runtime has no such facet or spec feature
    idempotency_mismatch,    ///< the key was used with another body
    cancelled,               ///< somebody asked the operation to stop
    length_required,
    too_large,
    uri_too_long,
    unsupported_media_type,
    misdirected,  ///< a Host that is not ours
    too_many_requests,
    headers_too_large,
    internal,         ///< a bug of ours or a reply that makes no sense
    not_implemented,  ///< nothing here can do this at all (the 501 of /api/v1/vm)
    failed,           ///< what was asked for was tried and did not work (a build, a container that exits)
    unavailable,      ///< a runtime, engine or service is away; trying later can help
    deadline,
    no_space,
};

/// "wrong_state" for Code::wrong_state.
std::string_view to_word(Code code) noexcept;
/// The code of a word; internal for words of a newer version.
Code code_from_word(std::string_view word) noexcept;

/// The one failure type of the project, at the seam and above it.
///
/// `message` is a sentence that says what and which; `hint`, where there is one, says what to do about it.
class Error : public std::exception {
  public:
    Error(Code code, std::string message, std::string hint = {}, bool retryable = false);

    Code code() const noexcept { return code_; }
    const std::string& message() const noexcept { return message_; }
    const std::string& hint() const noexcept { return hint_; }
    bool retryable() const noexcept { return retryable_; }
    /// An object of further facts for programs (a busy operation's id, output until a deadline), or null.
    const Value& details() const noexcept { return details_; }
    Error& with(std::string_view name, Value detail);

    /// "message; hint"
    const char* what() const noexcept override { return text_.c_str(); }

  private:
    Code code_;
    std::string message_;
    std::string hint_;
    std::string text_;
    bool retryable_;
    Value details_;
};

/// The seam's form: {"code","message","hint","retryable","details"}.
Value encode_error(const Error& error);
Error decode_error(const Value& value);

/// The Error for an errno value: ENOSPC and EDQUOT no_space, ENOENT not_found, others internal. `what` names
/// the step that failed ("cannot create /run/x").
Error error_from_errno(int error, std::string_view what);

/// The exception in flight as an Error; call inside a catch block only.
Error current_error();

}  // namespace minions
