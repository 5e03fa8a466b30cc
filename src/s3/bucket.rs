//! The forms in which a bucket is named.

/// A bucket, or an access point that stands for one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Bucket {
    /// A bucket's own name.
    Name(String),
    /// The alias of an access point, `...-s3alias`, which AWS takes wherever it takes a bucket name.
    Alias(String),
    /// An access point, from its ARN.
    AccessPoint {
        /// Partition: `aws`, `aws-cn`, ...
        partition: String,
        /// Its region; requests are signed for it.
        region: String,
        /// The account that owns it.
        account: String,
        /// Its name.
        name: String,
    },
}

impl Bucket {
    /// Tells the forms apart.
    ///
    /// # Errors
    /// Why the text names nothing that this program can sweep, in one sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with("arn:") {
            return parse_arn(text);
        }
        if let Some((_, reason)) = REFUSED_SUFFIXES.iter().find(|(suffix, _)| text.ends_with(suffix)) {
            return Err(format!("`{}`: {reason}", text.escape_debug()));
        }
        check_name(text)?;
        Ok(if text.ends_with("-s3alias") { Self::Alias(text.into()) } else { Self::Name(text.into()) })
    }

    /// The label in front of the endpoint's host, and the path segment in path addressing.
    pub fn label(&self) -> String {
        match self {
            Self::Name(name) | Self::Alias(name) => name.clone(),
            Self::AccessPoint { name, account, .. } => format!("{name}-{account}"),
        }
    }

    /// Whether the name can be a label of a host name that a wildcard certificate covers.
    pub(super) fn fits_host(&self) -> bool {
        let label = self.label();
        label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    }

    /// The name that a listing's `Name` must echo; what AWS echoes for access points is not promised.
    pub(super) fn echoed_name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Alias(_) | Self::AccessPoint { .. } => None,
        }
    }
}

/// Endings that AWS reserves, and why such a bucket is refused.
const REFUSED_SUFFIXES: &[(&str, &str)] = &[
    ("--x-s3", "a directory bucket keeps no versions, so there is nothing to sweep"),
    (
        "--op-s3",
        "an S3 on Outposts access point is reached by an endpoint of its own, which is not supported",
    ),
    ("--ol-s3", "an Object Lambda access point cannot list versions"),
    ("--table-s3", "a table bucket is managed by S3 Tables and keeps no versions"),
    (
        ".mrap",
        "a multi-region access point needs signatures for all regions (SigV4A), which is not supported",
    ),
];

fn check_name(text: &str) -> Result<(), String> {
    let shown = text.escape_debug();
    if !(3..=255).contains(&text.len()) {
        return Err(format!("`{shown}`: a bucket name has 3 to 63 characters"));
    }
    if let Some(odd) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !"._-".contains(*c)) {
        return Err(format!(
            "`{shown}`: a bucket name holds letters, digits, dots and hyphens, not `{}`",
            odd.escape_debug()
        ));
    }
    let ends_well = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if !ends_well(text.chars().next()) || !ends_well(text.chars().last()) || text.contains("..") {
        return Err(format!(
            "`{shown}`: a bucket name begins and ends with a letter or a digit, and no two dots meet"
        ));
    }
    Ok(())
}

fn parse_arn(text: &str) -> Result<Bucket, String> {
    let shown = text.escape_debug();
    let fields: Vec<&str> = text.splitn(6, ':').collect();
    let &[_, partition, service, region, account, resource] = fields.as_slice() else {
        return Err(format!("`{shown}`: an ARN has six fields separated by colons"));
    };
    match service {
        "s3" => {}
        "s3-outposts" => {
            return Err(format!(
                "`{shown}`: S3 on Outposts has endpoints of its own, which are not supported"
            ));
        }
        "s3-object-lambda" => {
            return Err(format!("`{shown}`: an Object Lambda access point cannot list versions"));
        }
        "s3express" => {
            return Err(format!(
                "`{shown}`: a directory bucket keeps no versions, so there is nothing to sweep"
            ));
        }
        _ => return Err(format!("`{shown}`: not an ARN of S3")),
    }
    let name = resource.strip_prefix("accesspoint/").or_else(|| resource.strip_prefix("accesspoint:"));
    let Some(name) = name else {
        return Err(format!("`{shown}`: write the bucket's plain name, or the ARN of an access point"));
    };
    if region.is_empty() || name.ends_with(".mrap") {
        return Err(format!(
            "`{shown}`: a multi-region access point needs signatures for all regions (SigV4A), \
             which is not supported"
        ));
    }
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !plain(name) || !plain(account) || !plain(region) || !plain(partition) {
        return Err(format!("`{shown}`: an access point ARN is arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME"));
    }
    Ok(Bucket::AccessPoint {
        partition: partition.into(),
        region: region.into(),
        account: account.into(),
        name: name.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms() {
        assert_eq!(Bucket::parse("my-logs.2024"), Ok(Bucket::Name("my-logs.2024".into())));
        assert_eq!(Bucket::parse("ap-abc123-s3alias"), Ok(Bucket::Alias("ap-abc123-s3alias".into())));
        let point = Bucket::parse("arn:aws:s3:eu-west-1:123456789012:accesspoint/sweeper");
        assert_eq!(
            point,
            Ok(Bucket::AccessPoint {
                partition: "aws".into(),
                region: "eu-west-1".into(),
                account: "123456789012".into(),
                name: "sweeper".into()
            })
        );
        assert_eq!(point.map(|bucket| bucket.label()), Ok("sweeper-123456789012".to_owned()));
    }

    #[test]
    fn what_cannot_be_swept_is_refused_with_the_reason() {
        for (text, reason) in [
            ("logs--use1-az4--x-s3", "directory bucket"),
            ("point--op-s3", "Outposts"),
            ("abc.mrap", "SigV4A"),
            ("arn:aws:s3::123456789012:accesspoint/abc.mrap", "SigV4A"),
            ("arn:aws:s3-outposts:us-east-1:1:outpost/op-1/accesspoint/a", "Outposts"),
            ("arn:aws:s3-object-lambda:us-east-1:1:accesspoint/a", "Object Lambda"),
            ("arn:aws:s3express:us-east-1:1:bucket/a--x-s3", "directory bucket"),
            ("arn:aws:s3:::plain", "plain name"),
            ("arn:aws:sqs:us-east-1:1:q", "not an ARN of S3"),
            ("arn:aws:s3", "six fields"),
            ("ab", "3 to 63"),
            ("a/b", "not `/`"),
            ("a b", "not ` `"),
            ("-abc", "begins and ends"),
            ("a..b", "no two dots"),
        ] {
            let refusal = Bucket::parse(text).expect_err(text);
            assert!(refusal.contains(reason), "{text}: {refusal}");
        }
    }

    #[test]
    fn dots_and_capitals_do_not_go_into_a_host_name() {
        let fits = |text: &str| Bucket::parse(text).expect(text).fits_host();
        assert!(fits("my-logs"));
        assert!(!fits("my.logs"));
        assert!(!fits("MyLogs"));
        assert!(!fits("my_logs"));
    }
}
