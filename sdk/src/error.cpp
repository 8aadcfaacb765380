#include <minions/codec.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <cerrno>
#include <new>
#include <system_error>

namespace minions {

template <>
struct EnumWords<Code> {
    static constexpr std::string_view words[] = {"invalid",
                                                 "unauthenticated",
                                                 "forbidden",
                                                 "not_found",
                                                 "method_not_allowed",
                                                 "conflict",
                                                 "busy",
                                                 "wrong_state",
                                                 "unsupported_by_runtime",
                                                 "idempotency_mismatch",
                                                 "cancelled",
                                                 "length_required",
                                                 "too_large",
                                                 "uri_too_long",
                                                 "unsupported_media_type",
                                                 "misdirected",
                                                 "too_many_requests",
                                                 "headers_too_large",
                                                 "internal",
                                                 "not_implemented",
                                                 "failed",
                                                 "unavailable",
                                                 "deadline",
                                                 "no_space"};
    static_assert(std::size(words) == static_cast<std::size_t>(Code::no_space) + 1);
};

std::string_view to_word(Code code) noexcept { return word_of(code); }

Code code_from_word(std::string_view word) noexcept {
    std::size_t index = 0;
    for (const auto known : EnumWords<Code>::words) {
        if (known == word) return static_cast<Code>(index);
        ++index;
    }
    return Code::internal;
}

Error::Error(Code code, std::string message, std::string hint, bool retryable)
    : code_(code),
      message_(std::move(message)),
      hint_(std::move(hint)),
      text_(hint_.empty() ? message_ : message_ + "; " + hint_),
      retryable_(retryable) {}

Error& Error::with(std::string_view name, Value detail) {
    details_.set(name, std::move(detail));
    return *this;
}

Value encode_error(const Error& error) {
    Value value = Value::object({{"code", to_word(error.code())}, {"message", error.message()}});
    if (!error.hint().empty()) value.set("hint", error.hint());
    if (error.retryable()) value.set("retryable", true);
    if (!error.details().is_null()) value.set("details", error.details());
    return value;
}

Error decode_error(const Value& value) {
    Error error(code_from_word(value["code"].string_or("internal")),
                value["message"].string_or("the runtime reported an error without a message"),
                value["hint"].string_or(""), value["retryable"].bool_or(false));
    if (const auto* details = value["details"].if_object()) {
        for (const auto& [name, detail] : *details) error.with(name, detail);
    }
    return error;
}

Error error_from_errno(int error, std::string_view what) {
    const std::string message = fmt::format("{}: {}", what, std::generic_category().message(error));
    switch (error) {
        case ENOSPC:
        case EDQUOT:
            return {Code::no_space, message, "free space on that file system, then try again", true};
        case ENOENT:
            return {Code::not_found, message};
        default:
            return {Code::internal, message};
    }
}

Error current_error() {
    try {
        throw;
    } catch (const Error& error) {
        return error;
    } catch (const std::system_error& error) {
        if (error.code().category() == std::generic_category() ||
            error.code().category() == std::system_category()) {
            return error_from_errno(error.code().value(), "a system call failed");
        }
        return {Code::internal, error.what()};
    } catch (const std::bad_alloc&) {
        return {Code::unavailable, "out of memory", "try again when the machine has memory to spare", true};
    } catch (const std::exception& error) {
        return {Code::internal, error.what()};
    } catch (...) {
        return {Code::internal, "an exception of unknown type"};
    }
}

}  // namespace minions
