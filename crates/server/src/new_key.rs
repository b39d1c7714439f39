//! `openmic auth new-key`: an API key and the lines of the configuration that take it.

use openmic_auth::{NewKey, NoRandom};
use toml::{Table, Value};

use crate::cli::NewKeyArgs;
use crate::config::values::Sha256;

/// What is printed. The only place where a key is shown.
///
/// # Errors
/// When the system gives no random bytes.
pub(crate) fn text(args: NewKeyArgs) -> Result<String, NoRandom> {
    let new = NewKey::generate()?;
    let roles = args.role.into_iter().map(Value::String).collect();
    let entry = Table::from_iter([
        ("name".to_owned(), Value::String(args.name)),
        (
            "sha256".to_owned(),
            Value::String(Sha256(new.sha256).to_string()),
        ),
        ("app".to_owned(), Value::String(args.app.to_string())),
        ("tenant".to_owned(), Value::String(args.tenant.to_string())),
        ("roles".to_owned(), Value::Array(roles)),
    ]);
    Ok(format!(
        "# The key, for the caller. It is shown this once:\n#   {}\n# For the configuration:\n\
         [[auth.api_keys]]\n{entry}",
        new.secret
    ))
}
