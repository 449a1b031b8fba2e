//! Everything that was not carried over: each gets a note, so that nothing is dropped in silence.

use super::graph::At;
use super::reader::Reader;
use super::{Note, What};

/// Kinds that send packets, or change what happens to them, and are not known here. First that fits.
const PACKETS: &[(&str, &str)] = &[
    ("aws_lb", "load balancers"),
    ("aws_alb", "load balancers"),
    ("aws_elb", "load balancers"),
    ("aws_network_interface_sg_attachment", "a security group that is attached to an interface by itself"),
    ("aws_egress_only_internet_gateway", "IPv6: clouds speak IPv4 here"),
    ("aws_vpc_ipv6", "IPv6: clouds speak IPv4 here"),
    ("aws_vpc_ipam", "address management"),
    ("aws_vpc_dhcp_options", "DHCP options: machines ask the resolver of their VPC"),
    ("aws_vpc_endpoint_service", "endpoint services of one's own"),
    ("aws_vpc_endpoint_connection", "endpoint services of one's own"),
    ("aws_vpc_peering_connection_options", "options of a peering"),
    ("aws_vpn", "VPN connections"),
    ("aws_customer_gateway", "VPN connections"),
    ("aws_dx_", "Direct Connect"),
    ("aws_ec2_client_vpn", "client VPN"),
    ("aws_ec2_transit_gateway", "a part of a transit gateway that is not known here"),
    ("aws_networkfirewall", "AWS Network Firewall"),
    ("aws_network_firewall", "AWS Network Firewall"),
    ("aws_route53_resolver", "resolver rules"),
    ("aws_route53", "DNS records"),
    ("aws_globalaccelerator", "Global Accelerator"),
    ("aws_cloudfront", "CloudFront"),
    ("aws_api_gateway", "API Gateway"),
    ("aws_apigatewayv2", "API Gateway"),
    ("aws_autoscaling_group", "what it starts is not in this file"),
    ("aws_launch_template", "what is started from it is not in this file"),
    ("aws_launch_configuration", "what is started from it is not in this file"),
    ("aws_spot_", "what it starts is not in this file"),
    ("aws_ec2_fleet", "what it starts is not in this file"),
    ("aws_eks", "clusters"),
    ("aws_ecs", "containers"),
    ("aws_lambda", "functions"),
    ("aws_db_", "databases"),
    ("aws_rds_", "databases"),
    ("aws_elasticache", "caches"),
    ("aws_opensearch", "search domains"),
    ("aws_elasticsearch", "search domains"),
    ("aws_redshift", "databases"),
    ("aws_docdb", "databases"),
    ("aws_neptune", "databases"),
    ("aws_msk", "message brokers"),
    ("aws_mq_", "message brokers"),
    ("aws_efs_mount_target", "file systems"),
    ("aws_fsx", "file systems"),
];

/// Kinds that have no part in a network.
const BESIDE: &[&str] = &[
    "aws_acm",
    "aws_ami",
    "aws_budgets",
    "aws_caller_identity",
    "aws_cloudtrail",
    "aws_cloudwatch",
    "aws_config_",
    "aws_default_tags",
    "aws_dynamodb",
    "aws_ebs",
    "aws_ec2_tag",
    "aws_ecr",
    "aws_flow_log",
    "aws_iam",
    "aws_key_pair",
    "aws_kms",
    "aws_ram_",
    "aws_region",
    "aws_resourcegroups",
    "aws_s3",
    "aws_secretsmanager",
    "aws_sns",
    "aws_sqs",
    "aws_ssm",
    "aws_volume_attachment",
    "aws_availability_zone",
    "aws_partition",
    "local_",
    "null_",
    "random_",
    "template_",
    "terraform_",
    "time_",
    "tls_",
    "http",
    "archive_",
    "external",
];

impl Reader<'_> {
    pub(super) fn read_others(&mut self) {
        for (address, why) in std::mem::take(&mut self.graph.doubtful) {
            let note = Note { address, kind: String::new(), what: What::LeftOut, why: why.to_owned() };
            self.notes.push(note);
        }
        for at in 0..self.graph.instances.len() {
            if !self.seen.contains(&at) {
                self.other(at);
            }
        }
    }

    fn other(&mut self, at: At) {
        let kind = self.graph.instances[at].kind;
        let data = self.graph.instances[at].data;
        let packets = PACKETS.iter().find(|(start, _)| kind.starts_with(start));
        match packets {
            // A data source only reads.
            _ if data => self.note(at, What::Beside, "a data source"),
            Some((_, what)) => self.left_out(at, *what),
            None if BESIDE.iter().any(|start| kind.starts_with(start)) => {
                self.note(at, What::Beside, "no part of a network");
            }
            None => self.left_out(at, "this type of resource is not known here"),
        }
    }
}
