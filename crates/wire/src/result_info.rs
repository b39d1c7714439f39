//! `resultInfo`. Source: Graph `resultInfo` resource.

use openmic_model::ResultInfo;
use serde::Serialize;

use crate::json;
use crate::tree::Members;

/// Reads `resultInfo` of an object. Numbers may be strings, `subCode` is seen for `subcode`, and
/// either may be missing.
pub(crate) fn decode(parent: &impl Members) -> Option<ResultInfo> {
    let info = json::member(parent, "resultInfo")?;
    let number = |name| {
        let wide = json::number(info, name)?;
        i32::try_from(wide).ok()
    };
    Some(ResultInfo {
        code: number("code").unwrap_or(0),
        subcode: number("subcode").or_else(|| number("subCode")).unwrap_or(0),
        message: json::text(info, "message").map(json::prose),
    })
}

/// Why something ended as it did.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = ResultInfo))]
pub(crate) struct ResultInfoJson<'a> {
    #[serde(rename = "@odata.type")]
    odata_type: &'static str,
    /// After HTTP's statuses.
    code: i32,
    /// The calling platform's.
    subcode: i32,
    #[cfg_attr(feature = "schema", schema(required))]
    message: Option<&'a str>,
}

impl<'a> From<&'a ResultInfo> for ResultInfoJson<'a> {
    fn from(info: &'a ResultInfo) -> Self {
        Self {
            odata_type: "#microsoft.graph.resultInfo",
            code: info.code,
            subcode: info.subcode,
            message: info.message.as_deref(),
        }
    }
}
